"""pyndereg beside other libraries by evaluations and time at equal error, at equal tolerance, and as problems grow."""
