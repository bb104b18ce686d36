"""The error for users, Windows paths, and text that is safe to print."""

import re
import reprlib
import unicodedata

# Characters that change the direction of the text around them: a name could look like another on a terminal.
_DIRECTION = {*"\u061c\u200e\u200f", *map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])}
# Longer parts are cut: a damaged file may put anything into a message.
_MAX_LENGTH = 2000
# A path of Windows: with a drive, of a network share, or with its backslashes taken by the shell.
_WINDOWS_DRIVE = re.compile(r"(?<![\w.])([A-Za-z]):[\\/]+((?:[^\\/:'\"\n]+\\+)*[^\s'\",;]*[^\s'\",;.:])?")
_WINDOWS_SHARE = re.compile(r"(?<![\w\\:])\\{2,4}\w[\w.-]*\\+\w")
_LOST_BACKSLASHES = re.compile(r"(?<![\w.])[A-Za-z]:Users(?=\w)")


class StudyError(Exception):
    """A problem that the user can fix.

    The command line prints it without a traceback and exits with code 2. If the message holds a path of Windows, `fix`
    begins with its form under Linux: this package runs on Linux, macOS and WSL only.

    Args:
        message: What was passed, with the file, the field or the value.
        expected: What would have been accepted.
        fix: What the user can do next.
    """

    def __init__(self, message: str, *, expected: str, fix: str) -> None:
        if (advice := explain_windows_path(message)) and advice not in fix:
            fix = f"{advice} {fix}"
        self.message, self.expected, self.fix = (printable(text) for text in (message, expected, fix))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nExpected: {self.expected}\nTo fix:   {self.fix}"

    def _render_traceback_(self) -> list[str]:
        # IPython calls this: a notebook then shows the message alone, as the command line does.
        return [str(self)]

    def __reduce__(self):
        # Keyword-only arguments do not survive pickling (worker processes) by themselves.
        return _rebuild, (type(self), self.message, self.expected, self.fix)


def explain_windows_path(text: str) -> str:
    """Return what to write instead of a Windows path in a text; '' if there is none."""
    if match := _WINDOWS_DRIVE.search(text):
        below = re.sub(r"\\+", "/", match[2] or "")
        linux = f"'/mnt/{match[1].lower()}/{below}'"
        return f"{match[1].upper()}:\\ is a drive of Windows. In WSL (Linux in Windows) write {linux}."
    if _WINDOWS_SHARE.search(text):
        return "A path that starts with \\\\ is a share of Windows. Mount it, and write the path where it is mounted."
    if _LOST_BACKSLASHES.search(text):
        return (
            "This seems to be a path of Windows whose backslashes the shell has removed. In WSL (Linux in Windows) "
            "write /mnt/c/Users/... with forward slashes."
        )
    return ""


class DamagedFileError(StudyError):
    """A file differs from what this package wrote."""


def show_value(value: object) -> str:
    """Return a passed value as text, shortened where it is long or deep: YAML aliases can make it endless."""
    return _short.repr(value)


def printable(text: str) -> str:
    """Escape unprintable and direction characters and cut long text, so that any terminal, log and page can show it.

    File names and settings come from other people: they may hold terminal commands (ESC) or bytes that are not text.
    """
    text = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 4]} ..."
    hidden = {c for c in set(text) if (is_unprintable(c) and c not in "\n\t") or c in _DIRECTION}
    return "".join(ascii(c)[1:-1] if c in hidden else c for c in text) if hidden else text


def printable_name(name: str) -> str:
    """Escape as `printable`, and line breaks and tabs too: a file name is one line of a list."""
    return printable(name).replace("\n", "\\n").replace("\t", "\\t")


def is_unprintable(character: str) -> bool:
    """Whether a character is a control character, a line or paragraph separator, or half a character (a surrogate)."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


class _ShortRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 200, 200

    def repr_int(self, value, level):
        try:
            return super().repr_int(value, level)
        except ValueError:
            # Python refuses to print numbers of more than 4300 digits.
            return f"<a whole number of {value.bit_length()} bits>"


_short = _ShortRepr()


def _rebuild(cls, message, expected, fix):
    return cls(message, expected=expected, fix=fix)
