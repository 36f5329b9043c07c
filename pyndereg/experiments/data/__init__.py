"""The data that the experiments train and test on: one module per data set, downloaded or shipped by a package.

Only what every classifier needs is imported here; each experiment imports the module of its own data.
"""

from pyndereg.experiments.data.digits import PIXELS, load_handwritten_digits
from pyndereg.experiments.data.images import CLASSES, LabelledImages

__all__ = ["CLASSES", "PIXELS", "LabelledImages", "load_handwritten_digits"]
