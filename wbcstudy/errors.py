"""The one error that a user is meant to read, and how values stand in it."""

import reprlib
import unicodedata

# Nobody reads more of one part of a message; a file that was damaged may put anything into it.
_LONGEST = 2000


class StudyError(Exception):
    """Something the user passed cannot be used, and here is how to fix it.

    The command line prints it without a traceback and exits with code 2.

    Args:
        what: What was passed or found, with the file, the field or the value.
        expected: What would have been right.
        fix: What the user can do next.
    """

    def __init__(self, what: str, *, expected: str, fix: str) -> None:
        what, expected, fix = (plain(text) for text in (what, expected, fix))
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


def show_value(value: object) -> str:
    """A value that was passed, as text: cut where it is long or deep, since aliases in YAML can make it endless."""
    return _short.repr(value)


def plain(text: str) -> str:
    """Text that any terminal, log and page can take: what cannot be printed is spelt out, what is too long is cut.

    File names and settings come from others. They may hold commands to the terminal (ESC), or bytes that are no text.
    """
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
    return "".join(ascii(one)[1:-1] if is_unprintable(one) and one not in "\n\t" else one for one in text)


def is_unprintable(character: str) -> bool:
    """Whether a character is a control character, parts lines or paragraphs, or is half of one (a surrogate)."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 200, 200

    def repr_int(self, value, level):
        try:
            return super().repr_int(value, level)
        except ValueError:
            # Python writes out no number of more than 4300 digits.
            return f"<a whole number of {value.bit_length()} bits>"


_short = _Short()


def _rebuild(cls, what, expected, fix):
    return cls(what, expected=expected, fix=fix)
