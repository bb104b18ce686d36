"""Read, compare and write settings (YAML, a notebook's parameters) and records (JSON)."""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from wbcstudy.config import DataSettings, EncoderStart, Question, RunConfig, StudyConfig, UnknownName
from wbcstudy.errors import (
    DamagedFileError,
    StudyError,
    TextFault,
    explain_text,
    find_look_alike,
    find_yaml_fault,
    show_value,
)
from wbcstudy.files import read_bytes, read_json_bytes
from wbcstudy.registry import unknown_name
from wbcstudy.wording import join_words

# Rules of runs that were recorded before the setting existed, where its default is another rule.
_EARLIER = {"score_at": "image_size"}
# Version of the records. A record without a version was written by wbcstudy 0.2 or earlier, without a digest.
FORMAT = 1
# Origin of a notebook's values in messages.
_CELL = "the parameters cell"
_LIMITS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
# Size of a settings file, in bytes; ours have less than a tenth, and PyYAML needs seconds for this many.
_LARGEST_YAML = 200_000
# Types of a record's values. JSON has no NaN, and NumPy's integers end at 2**63.
Text = Annotated[str, Field(max_length=1_000_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Number = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def read_study(path: str | Path) -> StudyConfig:
    """Read `params/<study>.yaml`.

    Raises:
        StudyError: no such file, not YAML, an unknown or misspelt field, or a value out of range.
    """
    path = Path(path)
    values = read_yaml(path)
    if str(values.get("name", path.stem)) != path.stem:
        raise StudyError(
            f"{path}: name: {show_value(values['name'])} is not the file's name.",
            expected=f"no `name`: the file's name is the study's name, {path.stem}",
            fix="Delete the line, or rename the file.",
        )
    return make_config(StudyConfig, values | {"name": path.stem}, source=str(path))


def read_run(path: str | Path, config_class: type[DataSettings] = RunConfig):
    """Read the `params.yaml` of a run or, with `BaselineConfig`, of an earlier method.

    Raises:
        StudyError: as `read_study`.
    """
    path = Path(path)
    return make_recorded_config(config_class, read_yaml(path), source=str(path))


def make_recorded_config(config_class: type[DataSettings], values: dict[str, Any], source: str):
    """Build the configuration of a run that may have been recorded by an earlier version, as `make_config`."""
    return make_config(config_class, _EARLIER | values, source=source)


def make_config(config_class: type[DataSettings], values: dict[str, Any], source: str = "parameters"):
    """Build a configuration; the first invalid value becomes a `StudyError`.

    Args:
        config_class: `StudyConfig`, `RunConfig` or `BaselineConfig`.
        values: field name -> value.
        source: origin of the values, for the message.

    Raises:
        StudyError: an unknown field (the nearest is suggested) or an invalid value.
    """
    fields = config_class.model_fields
    known = [name for name in fields if not (config_class is StudyConfig and name == "name")]
    for key in values:
        if key not in fields:
            error = unknown_name(key, known, "parameter")
            raise StudyError(f"{source}: {error.message}", expected=error.expected, fix=error.fix)
    try:
        return config_class(**values)
    except ValidationError as error:
        raise _explain(error.errors()[0], config_class, source) from None


# Settings of a study whose entries have settings of their own.
_NESTED = {"starts": EncoderStart, "questions": Question}


def _explain(problem: dict[str, Any], config_class: type[DataSettings], source: str) -> StudyError:
    """Turn one error of pydantic into a `StudyError`. Its own words are for programmers and are not shown."""
    cause, given = problem.get("ctx", {}).get("error"), problem["input"]
    if isinstance(cause, UnknownName):
        error = cause.error
        return StudyError(f"{source}: {error.message}", expected=error.expected, fix=error.fix)
    if not problem["loc"]:
        return StudyError(
            f"{source}: the combination of values cannot be used.",
            expected=str(cause),
            fix=f"Change one of the two in {source}.",
        )
    name, *items = problem["loc"]
    field = config_class.model_fields[name]
    fix = f"Change {name} in {source}. {name}: {field.description}"
    nested = _NESTED.get(name) if config_class is StudyConfig else None
    if nested and len(items) > 1:
        # An entry of starts or questions: its own field has the rule.
        entry, key = (f"entry {items[0] + 1}" if isinstance(items[0], int) else items[0]), str(items[1])
        if key not in nested.model_fields:
            error = unknown_name(key, list(nested.model_fields), "setting")
            return StudyError(f"{source}: {name}, {entry}: {error.message}", expected=error.expected, fix=error.fix)
        if problem["type"] == "missing":
            return StudyError(f"{source}: {name}, {entry} lacks {key}.", expected=f"the field {key}", fix=fix)
        name, items, field = f"{name}, {entry}, {key}", [], nested.model_fields[key]
    if problem["type"] == "missing":
        return StudyError(f"{source} lacks {name}.", expected=f"the field {name}", fix=fix)
    if config_class is StudyConfig and name == "name":
        fix = "Rename the file: its name is the study's name."
    rule = str(cause) if cause else _rule(problem["type"], field, given, bool(items))
    where = name + "".join(f", value {item + 1}" for item in items[:1] if isinstance(item, int))
    advice = explain_text(given) or _advise_on_type(problem["type"], name, given, source == _CELL)
    return StudyError(
        f"{source}: {where}: {show_value(given)} cannot be used.", expected=rule, fix=f"{advice} {fix}".strip()
    )


def _rule(kind: str, field: FieldInfo, given: Any, is_item: bool) -> str:
    """Return what a field accepts, for a kind of error of pydantic."""
    if kind == "literal_error":
        choices = [str(choice) for choice in get_args(field.annotation)]
        closest = difflib.get_close_matches(str(given)[:100], choices, n=1)
        return join_words(choices, "or") + (f". Did you mean {closest[0]!r}?" if closest else "")
    if kind == "tuple_type":
        return f"a list, for example [{_example(given, field.default)}]"
    if kind.startswith("bool"):
        return "true or false"
    if kind.startswith("string"):
        return "text that is not empty" if kind == "string_too_short" else "text"
    if not kind.startswith(("int", "float", "greater", "less", "finite")):
        return "a value as described below"
    limits = {key: getattr(limit, key) for limit in field.metadata for key in _LIMITS if hasattr(limit, key)}
    bounds = [f"{comparison} {limits[key]}" for key, comparison in _LIMITS.items() if key in limits]
    if limits.keys() == {"ge", "le"}:
        bounds = [f"from {limits['ge']} to {limits['le']}"]
    noun = "a whole number" if kind.startswith("int") or "int" in str(field.annotation) else "a number"
    return noun if is_item else f"{noun} {join_words(bounds)}".strip()


def _advise_on_type(kind: str, name: str, given: Any, in_cell: bool) -> str:
    """Return advice for a value that YAML or papermill has read as another type than the user meant; or ''."""
    if kind == "string_type" and given is not None:
        if in_cell:
            return f"Put it in quotes. On papermill's command line, -p reads digits as a number: write -r {name} TEXT."
        if isinstance(given, dict) and list(given.values()) == [None]:
            return f"Text that begins with {{ needs quotes: {name}: '{{{next(iter(given))}}}'."
        return f"YAML reads it as {_yaml_type(given)}. Put text in quotes: {name}: '...'."
    if in_cell:
        tuples = f"On papermill's command line, -p and -r pass text: write -y '{name}: [...]' for a list."
        return tuples if kind == "tuple_type" else ""
    if isinstance(given, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", given):
        return "YAML reads 1e-4 as text: write 1.0e-4."
    if isinstance(given, str) and re.fullmatch(r"[+-]?\d+,\d+", given):
        return f"Write a point, not a comma: {given.replace(',', '.')}."
    if isinstance(given, bool):
        return "YAML reads yes, no, on and off as true or false; put text in quotes."
    return "" if given is not None else "The field has no value. Delete the line for the default."


def _yaml_type(value: Any) -> str:
    names = {int: "a number", float: "a number", list: "a list", dict: "a table of fields", bool: "true or false"}
    return names.get(type(value), "a date")


def _example(given: Any, default: Any) -> str:
    """Return an example for a list's content: the single value that was given, or the default."""
    if (isinstance(given, str) and given.split() == [given]) or type(given) is int:
        return show_value(given).strip("'\"")
    return ", ".join(map(str, default)) if isinstance(default, tuple) else "..."


def config_from_parameters(config_class: type[DataSettings], variables: dict[str, Any]):
    """Build the configuration of a notebook from the variables of its parameters cell.

    papermill only warns about an unknown parameter, and then trains the default. Here the cell that it injected is read
    again and the parameter is refused. A misspelt name in the notebook's own cell, which would leave the right variable
    unchanged, is refused too.

    Args:
        config_class: `RunConfig` or `BaselineConfig`.
        variables: the notebook's `globals()`.

    Raises:
        StudyError: an unknown parameter or an invalid value.
    """
    fields = set(config_class.model_fields)
    cells = [(cell, set(_assigned_names(cell))) for cell in variables.get("In", [])]
    # The notebook's own cell may have been run several times: the last one counts.
    own = [names for _, names in cells if len(names & fields) > len(fields) / 2][-1:]
    injected = [names for cell, names in cells if cell.startswith("# Parameters")]
    names = fields.union(*own, *injected) & set(variables)
    return make_config(config_class, {name: variables[name] for name in sorted(names)}, source=_CELL)


def _assigned_names(source: str) -> list[str]:
    try:
        statements = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    except SyntaxError:
        # A magic command, or an invalid cell.
        return []
    return [target.id for node in statements for target in node.targets if isinstance(target, ast.Name)]


def changed_settings(before: dict[str, Any], config: DataSettings) -> list[str]:
    """Compare a configuration with an earlier one.

    Args:
        before: the earlier settings, from `model_dump(mode="json")`. A missing field was added in a later version and
            counts as its default, or as the rule that was used before (`score_at`: image_size).
        config: the current settings.

    Returns:
        One clause per changed field, like "epochs was 60, is now 100"; empty if the settings are equal.
    """
    return [f"{name} was {old!r}, is now {new!r}" for name, (old, new) in changed_values(before, config).items()]


def changed_values(before: dict[str, Any], config: DataSettings) -> dict[str, tuple[Any, Any]]:
    """Return name -> earlier and current value of each changed field; arguments as `changed_settings`."""
    fields = type(config).model_fields
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    # In JSON, a tuple is a list.
    before, now = to_jsonable_python(defaults) | _EARLIER | before, config.model_dump(mode="json")
    values = {name: (before.get(name), now.get(name)) for name in now | before}
    return {name: (old, new) for name, (old, new) in values.items() if old != new}


def yaml_text(config: DataSettings) -> str:
    """Return a configuration as YAML for papermill and `read_run`, with each field's description as a comment."""
    fields = type(config).model_fields
    values = config.model_dump(mode="json").items()
    return "".join(f"{yaml_line(name, value)}  # {fields[name].description}\n" for name, value in values)


def yaml_line(name: str, value: Any) -> str:
    """Return a setting as a line of a YAML file."""
    return f"{name}: {_yaml_value(json.dumps(value))}"


def write_yaml(config: DataSettings, path: Path) -> None:
    """Write a configuration as YAML, see `yaml_text`."""
    path.write_text(yaml_text(config), encoding="utf-8")


# Cached: the runs of a study share most values, and PyYAML is slow.
@functools.lru_cache(maxsize=10_000)
def _yaml_value(text: str) -> str:
    value = yaml.safe_dump(json.loads(text), default_flow_style=True, width=1000, allow_unicode=True)
    # PyYAML ends a bare scalar with a document end mark.
    return value.removesuffix("...\n").strip()


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuse duplicate keys, of which PyYAML silently takes the last."""

    def construct_mapping(self, node, deep=False):
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key, mark = str(self.construct_object(key_node)), key_node.start_mark
            if key in lines:
                problem = f"duplicate key {key!r} (also in line {lines[key] + 1})"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)
            lines[key] = mark.line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, example: str = "params/demo.yaml") -> dict[str, Any]:
    """Read a YAML file of fields, in UTF-8 or UTF-16; duplicate fields are refused.

    Args:
        path: the file.
        example: where to find an example, for the error message.

    Raises:
        StudyError: no such file, not YAML, or no fields. The message shows the line and the usual cause.
    """
    text = _read_text(path, example)
    lines = text.splitlines() or [""]
    see = f" For an example, see {example}."

    def refuse(fault: TextFault) -> StudyError:
        message = f"{path} is not valid YAML: {fault.describe(lines)}"
        return StudyError(message, expected="one 'field: value' per line", fix=fault.fix + see)

    try:
        values = yaml.load(text, _UniqueKeyLoader)
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        reason = f"a character that is not text ({text[error.position]!a})"
        raise refuse(TextFault(len(before) - 1, len(before[-1]), reason, "Save the file as plain text.")) from None
    except (yaml.YAMLError, ValueError) as error:
        marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
        columns = {min(mark.line, len(lines) - 1): mark.column for mark in marks if mark}
        suspects = list(columns) or range(len(lines))
        problem = getattr(error, "problem", None) or str(error)
        raise refuse(find_yaml_fault(lines, suspects, columns.get(suspects[0], 0), problem)) from None
    except RecursionError:
        raise StudyError(
            f"{path} is not valid YAML: too many brackets within each other.",
            expected="one 'field: value' per line",
            fix=f"Check the file.{see}",
        ) from None
    odd_key = isinstance(values, dict) and any(explain_text(key) for key in values)
    if (odd_key or isinstance(values, str)) and (fault := find_look_alike(lines)):
        raise refuse(fault)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        content = {
            type(None): "is empty",
            list: "holds a list",
            str: "holds a text",
            dict: "has a field without a name",
        }
        raise StudyError(
            f"{path} {content.get(type(values), 'holds a single value')}, not fields.".replace(
                "empty, not", "empty: no"
            ),
            expected="one 'field: value' per line",
            fix=see.strip(),
        )
    return values


def _read_text(path: Path, example: str) -> str:
    """Read a text file in UTF-8 or UTF-16, with or without a byte order mark."""
    expected = "a text file with one 'field: value' per line"
    try:
        content = read_bytes(path, most=_LARGEST_YAML)
    except OSError as error:
        raise StudyError(
            f"Cannot read {path}: {error.strerror or error}.",
            expected=expected,
            fix=_advise_on_path(path, error, example),
        ) from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and (zeros := content[:100].count(0)) and zeros >= len(content[:100]) // 3:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            message, fix = "it is a Word document or an archive", "Save it as plain text."
        elif encoding != "utf-8-sig" or b"\0" in content:
            message, fix = "it is not a text file", "Check the path."
        else:
            line = content.count(b"\n", 0, error.start) + 1
            message, fix = f"line {line} holds a character that is not in UTF-8", "Save it with the encoding UTF-8."
        raise StudyError(f"Cannot read {path}: {message}.", expected=f"{expected}, in UTF-8", fix=fix) from None


def _advise_on_path(path: Path, error: OSError, example: str) -> str:
    """Return what to do about a settings file that cannot be opened."""
    if isinstance(error, PermissionError):
        return "Ask its owner for permission, or copy the file to your own folder."
    if isinstance(error, IsADirectoryError):
        return "Pass the file in this folder."
    if not isinstance(error, FileNotFoundError):
        return f"Check the file. For an example, see {example}."
    try:
        names = [file.name for file in path.parent.glob("*.yaml")]
    except OSError:
        names = []
    closest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    advice = f"Did you mean {path.parent / closest[0]}?" if closest else "Check the path."
    return f"{advice} For an example, see {example}."


def seal_record(values: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the version of its format and a digest of its content, which `read_record_file` checks."""
    values = {name: value for name, value in values.items() if name != "sha256"} | {"format": FORMAT}
    return values | {"sha256": _content_digest(values)}


def read_record_file(path: Path, record_type: Any, fix: str) -> dict[str, Any] | None:
    """Read a record: a JSON object with the fields of a type, and the digest of its content if it has one.

    Args:
        path: the file.
        record_type: a `TypedDict`; fields that it does not name may have any value.
        fix: what the user can do about a damaged file.

    Returns:
        The record; None where the file is absent.

    Raises:
        DamagedFileError: the file is not a record, or its content has changed since it was written.
        StudyError: the file cannot be read, or was made by a newer version of this package.
    """
    expected = "the file as wbcstudy wrote it"
    try:
        record = json.loads(read_json_bytes(path), parse_constant=_refuse_constant, parse_float=_finite)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StudyError(
            f"Cannot read {path}: {error.strerror}.", expected=expected, fix="Check its permissions."
        ) from None
    except OSError as error:
        raise DamagedFileError(
            f"{path} cannot be read: {error.strerror or error}.", expected=expected, fix=fix
        ) from None
    except (ValueError, RecursionError):
        raise DamagedFileError(f"{path} is damaged: it is not valid JSON.", expected=expected, fix=fix) from None
    if not isinstance(record, dict):
        raise DamagedFileError(f"{path} is damaged: it holds no fields.", expected=expected, fix=fix)
    version = record.get("format", 0)
    if type(version) is int and version > FORMAT:
        raise StudyError(
            f"{path} was made by a newer wbcstudy: its format is {show_value(version)}.",
            expected=f"format {FORMAT} or lower",
            fix="Update wbcstudy.",
        )
    if version != 0 and record.get("sha256") != _content_digest(record):
        raise DamagedFileError(f"{path} has changed since it was written.", expected=expected, fix=fix)
    try:
        _adapter(record_type).validate_python(record, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        value = "is missing" if problem["type"] == "missing" else f"is {show_value(problem['input'])}"
        raise DamagedFileError(f"{path} is damaged: {field} {value}.", expected=expected, fix=fix) from None
    return record


def _content_digest(record: dict[str, Any]) -> str:
    content = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


@functools.cache
def _adapter(record_type: Any) -> TypeAdapter:
    return TypeAdapter(record_type)
