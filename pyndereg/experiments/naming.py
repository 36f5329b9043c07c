"""What runs and their records are called."""

from pathlib import Path


def run_title(method: str, seed: int) -> str:
    """A run in a few words, for a bar or a line of output."""
    return f"{method}, seed {seed}"


def record_name(experiment: str, method: str, seed: int) -> str:
    """File name of a run's record; signs of the method that file names had better not hold become dashes."""
    return f"{experiment}-{method.replace('+', '-').replace('@', '-')}-seed{seed}.json"


def default_output(experiment: str, method: str, seed: int) -> Path:
    """Where the record of a run goes unless told otherwise."""
    return Path("runs") / record_name(experiment, method, seed)
