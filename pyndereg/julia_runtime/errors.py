"""What starting Julia and calling it can raise."""


class JuliaUnavailable(RuntimeError):
    """Julia cannot be used in this process; one sentence says why and what to do."""


class JuliaError(RuntimeError):
    """An exception that Julia code threw.

    Args:
        sentence: Julia's message in one line.
        trace: Julia's full text, with its stack trace.
    """

    def __init__(self, sentence: str, trace: str = "") -> None:
        super().__init__(sentence)
        self.trace = trace
