"""The one error that a user is meant to read."""


class StudyError(Exception):
    """Something the user passed cannot be used, and here is how to fix it.

    The command line prints it without a traceback and exits with code 2.

    Args:
        what: What was passed or found, with the file, the field or the value.
        expected: What would have been right.
        fix: What the user can do next.
    """

    def __init__(self, what: str, *, expected: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.expected, self.fix = what, expected, fix

    def __str__(self) -> str:
        return f"{self.what}\nExpected: {self.expected}\nTo fix:   {self.fix}"

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this: in a notebook the message stands alone, as on the command line.
        return [str(self)]

    def __reduce__(self):
        # Keyword-only arguments do not survive pickling (worker processes) by themselves.
        return _rebuild, (type(self), self.what, self.expected, self.fix)


def _rebuild(cls, what, expected, fix):
    return cls(what, expected=expected, fix=fix)
