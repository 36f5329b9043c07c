"""What an error message must be: one sentence with the value found and the remedy."""

import re


def check_sentence(error: BaseException, *parts: str) -> None:
    """The message of `error` is one sentence that names what was found and what to do, and holds all of `parts`."""
    message = str(error)
    for part in parts:
        assert part in message, f"{part!r} is missing in {message!r}"
    assert "\n" not in message, message
    inside = message.replace("e.g. ", "")
    assert not re.search(r"[.!?] [A-Z]", inside), f"more than one sentence: {message!r}"
    assert re.search(r"[;:,] (?!$)", message), f"no remedy after the finding: {message!r}"
