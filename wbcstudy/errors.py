"""The error for users, the usual causes of faults in YAML and in paths, and text that is safe to print."""

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Characters that change the direction of the text around them: a name could look like another on a terminal.
_DIRECTION = {*"\u061c\u200e\u200f", *map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])}
# Longer parts are cut: a damaged file may put anything into a message.
_MAX_LENGTH = 2000
# A path of Windows: with a drive, of a network share, or with its backslashes taken by the shell.
_WINDOWS_DRIVE = re.compile(r"(?<![\w.])([A-Za-z]):[\\/]+((?:[^\\/:'\"\n]+\\+)*[^\s'\",;]*[^\s'\",;.:])?")
_WINDOWS_SHARE = re.compile(r"(?<![\w\\:])\\{2,4}\w[\w.-]*\\+\w")
_LOST_BACKSLASHES = re.compile(r"(?<![\w.])[A-Za-z]:Users(?=\w)")


_SPACES = "\\u00a0\\u1680\\u2000-\\u200d\\u202f\\u205f\\u3000\\ufeff"
# Characters that look right and are not: pattern of a line of YAML, whose first group is the culprit, reason, advice.
_LOOK_ALIKES = (
    (rf"([{_SPACES}])", "an invisible character that is not a normal space", "Delete it and type a normal space."),
    (r"(?:^|[:,\[{-]\s*)([\u2018-\u201f\u00ab\u00bb])", "a curly quote", "Type straight quotes: 'text'."),
    (r"^\s*[\w-]+\s*([\uff1a\ufe55])", "a colon of another script", "Type a normal colon and a space."),
    (
        r"^\s*(?:- +)?[A-Za-z_]\w*(:)(?=[^\s/\\])(?!.*: )",
        "no space after the colon",
        "Write 'field: value', with a space.",
    ),
    (r"^\s*[A-Za-z_]\w*\s*(=)", "'=' instead of ': '", "Write 'field: value'."),
)
# The same, and the part of the parser's reason that belongs to it. The first that matches counts.
_YAML_CAUSES = (
    (r"^[^'\"#]*?(\t)", "a tab (shown as \u2192)", "Replace each tab by spaces: two per level.", r"\\t"),
    (r"(\\)", "a backslash in double quotes", "Use single quotes: 'text\\more'. In paths write /.", "escape"),
    *((*row, "") for row in _LOOK_ALIKES[:3]),
    (r"^\s*(?:- +)?(?:[\w-]+\s*:\s+)?(\{[^}]*\}\s*[^\s,#\]}])", "text that begins with {", "QUOTE", ""),
    (r"^\s*(?:- +)?(?:[\w-]+\s*:\s+)?(\[[^\]]*\]\s*[^\s#])", "text that begins with [", "QUOTE", ""),
    (r"^\s*(?:- +)?(?:[\w-]+\s*:\s+)?([*&!%@`|>?])", "text that begins with a special character", "QUOTE", ""),
    (
        r":\s+(- )",
        "a list on the line of its field",
        "Write [a, b], or each '- value' on its own line.",
        "sequence entries",
    ),
    (
        r":\s+(?:'[^']*'|\"[^\"]*\")\s*([^\s#,\]}])",
        "text after the closing quote",
        'Put the whole value in the other kind of quotes, for example "Anna\'s smears".',
        "",
    ),
    (r":\s+([\"'])(?:(?!\1).)*$", "a quote that is not closed", "Close the quote.", ""),
    (
        r"^[^'\"#]*?:\s+([\[{])[^\]}]*$",
        "a bracket that is not closed",
        "Close the bracket.",
        "expected ',' or|(stream|document) end",
    ),
    *((*row, "") for row in _LOOK_ALIKES[3:]),
    (r"^\s*(?:- +)?[\w-]+:\s+[^'\"\[{#\s][^#]*?(: )", "': ' within a value", "QUOTE", "mapping values"),
    (r"^(---)", "a second document", "Delete the line '---'.", "another document"),
    (r"^\s*((?!- )[^:#\s][^:]*)$", "no ': '", "Write 'field: value'.", "expected ':'"),
    (
        r"^\s*(\S)",
        "an indentation that does not fit the lines above",
        "Begin the fields of one level in the same column.",
        "mapping values|block mapping start|found '-'|document start",
    ),
    (r":\s*(\d{4}-\d\d?-\d\d?)", "a date that does not exist", "QUOTE", "(month|day|year|hour|minute) .*"),
)


@dataclass(frozen=True)
class TextFault:
    """A fault in a line of a file: line and column from 0, the reason as a noun, and advice."""

    line: int
    column: int
    reason: str
    fix: str

    def describe(self, lines: Sequence[str]) -> str:
        """Return the reason with the lines of the file around it and a mark below the column."""
        start = max(0, self.column - 80)
        shown = [number for number in (self.line - 1, self.line) if number >= 0 and lines[number].strip()]
        context = [f"{number + 1:5} | {lines[number][start : start + 110]}".replace("\t", "\u2192") for number in shown]
        return "\n".join(
            [f"line {self.line + 1} has {self.reason}", *context, f"      | {' ' * (self.column - start)}^"]
        )


def find_yaml_fault(lines: Sequence[str], suspects: Iterable[int], column: int, problem: str) -> TextFault:
    """Find the usual cause why a file is not valid YAML.

    Args:
        lines: lines of the file.
        suspects: indices of the lines that the parser names, the most likely first.
        column: column that the parser names in the first of them.
        problem: reason of the parser.
    """
    suspects = list(dict.fromkeys(suspects))
    # A line without ': ' is read together with the next one, which the parser then names.
    above = [number for number in range(suspects[0] - 1, -1, -1) if lines[number].strip()][:1]
    for pattern, reason, fix, needed in _YAML_CAUSES:
        for number in suspects + above * (not needed):
            match = re.search(pattern, lines[number])
            if match and re.search(needed, problem):
                return TextFault(number, match.start(1), reason, _quote(lines[number]) if fix == "QUOTE" else fix)
    clear = problem if problem and not re.search("[<>]|token|node", problem) else "no 'field: value' that can be read"
    fix = "Delete one of the two lines." if "duplicate" in problem else "Put text with special characters in quotes."
    return TextFault(suspects[0], column, clear, fix)


def find_look_alike(lines: Sequence[str]) -> TextFault | None:
    """Find a character that looks like YAML's and is another, in lines that were read without an error."""
    for pattern, reason, fix in _LOOK_ALIKES:
        for number, line in enumerate(lines):
            if match := re.search(pattern, line):
                return TextFault(number, match.start(1), reason, fix)
    return None


def explain_text(value: object) -> str:
    """Return advice for a text that holds characters that were not meant; '' for other values."""
    if not isinstance(value, str):
        return ""
    for pattern, reason, fix in _LOOK_ALIKES[:2]:
        if re.search(pattern, value):
            return f"The value has {reason}. {fix}"
    if any(map(is_unprintable, value)):
        return "In double quotes, a backslash begins a special character. Use single quotes; in paths write /."
    return ""


def _quote(line: str) -> str:
    """Return the advice to put the value of a line in quotes."""
    field, value = re.fullmatch(r"\s*((?:- +)?(?:[\w-]+\s*:\s+)?)(.*?)(?:\s+#.*)?\s*", line).groups()
    return f"Put it in quotes: {field}'{value.replace(chr(39), chr(39) * 2)}'."


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
