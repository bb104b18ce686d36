"""Settings from a study's YAML and from a notebook's parameters, compared, and written again."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from wbcstudy.config import DataSettings, RunConfig, StudyConfig, UnknownName
from wbcstudy.errors import StudyError, show_value
from wbcstudy.files import expand_home, project_root
from wbcstudy.registry import unknown_name


def find_study_file(path: str | Path) -> Path:
    """A study's YAML, counted from the current folder or, where it is not there, from the checkout.

    A notebook opened in JupyterLab runs in notebooks/, where `params/demo.yaml` is not.
    """
    path = expand_home(path)
    return path if path.exists() or path.is_absolute() else project_root() / path


def read_study(path: str | Path) -> StudyConfig:
    """Read `params/<study>.yaml`.

    Raises:
        StudyError: no such file, not YAML, an unknown or misspelt field, or a value out of range.
    """
    path = Path(path)
    values = _read_yaml(path)
    if str(values.get("name", path.stem)) != path.stem:
        raise StudyError(
            f"{path}: name: {show_value(values['name'])} is not the file's name.",
            expected=f"no `name`: the study is called as its file is, {path.stem}",
            fix="Take the line out, or rename the file.",
        )
    return make_config(StudyConfig, values | {"name": path.stem}, source=str(path))


def read_run(path: str | Path, kind: type[DataSettings] = RunConfig):
    """Read a `params.yaml` of a run or, with `kind=BaselineConfig`, of an earlier method.

    Raises:
        StudyError: as `read_study` does.
    """
    path = Path(path)
    return make_config(kind, _read_yaml(path), source=str(path))


def make_config(kind: type[DataSettings], values: dict[str, Any], source: str = "parameters"):
    """Build a configuration, turning the first broken rule into a message for a person.

    Args:
        kind: `StudyConfig`, `RunConfig` or `BaselineConfig`.
        values: field names and values.
        source: where they come from, for the message.

    Raises:
        StudyError: unknown field (the nearest is suggested) or a value that breaks its rule.
    """
    known = [name for name in kind.model_fields if not (kind is StudyConfig and name == "name")]
    for key in values:
        if key not in kind.model_fields:
            error = unknown_name(key, known, "parameter")
            raise StudyError(f"{source}: {error.message}", expected=error.expected, fix=error.fix)
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        got = f"{field}: {show_value(first['input'])}" if field else "the combination of values"
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, UnknownName):
            error = cause.error
            raise StudyError(f"{source}: {error.message}", expected=error.expected, fix=error.fix) from None
        rule = str(cause) if cause else first["msg"]
        if first["type"] == "tuple_type":
            rule = f"a list, for example [{_example(first['input'], kind.model_fields[first['loc'][0]].default)}]"
        hint = ""
        if isinstance(first["input"], str) and re.fullmatch(r"\d+e[+-]?\d+", first["input"]):
            hint = " (YAML reads 1e-4 as text: write 1.0e-4)"
        meaning = kind.model_fields[first["loc"][0]].description if first["loc"] else None
        fix = f"Change {field or 'one of the two'} in {source}." + (f" {field}: {meaning}" if meaning else "")
        if kind is StudyConfig and field == "name":
            fix = "Rename the file: a study is called as its file is."
        raise StudyError(f"{source}: {got} cannot be used.", expected=rule + hint, fix=fix) from None


def _example(given: Any, default: Any) -> str:
    """What could stand in a list's brackets: the one value that was given, or what does by default."""
    if (isinstance(given, str) and given.split() == [given]) or type(given) is int:
        return show_value(given).strip("'\"")
    return ", ".join(map(str, default)) if isinstance(default, tuple) else "..."


def config_from_parameters(kind: type[DataSettings], variables: dict[str, Any]):
    """The configuration of a notebook, from the variables of its parameters cell.

    papermill only warns about a parameter that the notebook does not have, and then trains the default. Here the
    cell that it injected is read again and such a parameter is refused; so is one in the notebook's own cell, where a
    name that is misspelt would leave the right one as it was.

    Args:
        kind: `RunConfig` or `BaselineConfig`.
        variables: the notebook's `globals()`.

    Raises:
        StudyError: unknown parameter, or a value that breaks its rule.
    """
    fields = set(kind.model_fields)
    cells = [(cell, set(_assigned_names(cell))) for cell in variables.get("In", [])]
    # The notebook's own may have been run several times: the last counts.
    own = [names for _, names in cells if len(names & fields) > len(fields) / 2][-1:]
    injected = [names for cell, names in cells if cell.startswith("# Parameters")]
    names = fields.union(*own, *injected) & set(variables)
    return make_config(kind, {name: variables[name] for name in sorted(names)}, source="the parameters cell")


def _assigned_names(source: str) -> list[str]:
    try:
        statements = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    except SyntaxError:
        # A magic command, or a cell that did not run.
        return []
    return [target.id for node in statements for target in node.targets if isinstance(target, ast.Name)]


def changed_settings(before: dict[str, Any], config: DataSettings) -> list[str]:
    """In what a configuration differs from an earlier one.

    Args:
        before: the earlier one's fields, as `model_dump(mode="json")` gives them. Fields that it lacks came with a
            later version and had their default's effect before, so they count as that.
        config: the present one.

    Returns:
        One clause for each changed field, like "epochs was 60, is now 100"; empty if both train the same.
    """
    fields = type(config).model_fields
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    # As JSON has them: a tuple is a list there.
    before, now = to_jsonable_python(defaults) | before, config.model_dump(mode="json")
    return [
        f"{name} was {before.get(name)!r}, is now {now.get(name)!r}"
        for name in now | before
        if before.get(name) != now.get(name)
    ]


def yaml_text(config: DataSettings) -> str:
    """A configuration as papermill and `read_run` read it, each field with its help as a comment."""
    fields = type(config).model_fields
    values = config.model_dump(mode="json").items()
    return "".join(
        f"{name}: {_yaml_value(json.dumps(value))}  # {fields[name].description}\n" for name, value in values
    )


def write_yaml(config: DataSettings, path: Path) -> None:
    """Write `yaml_text`."""
    path.write_text(yaml_text(config), encoding="utf-8")


# The runs of a study share most values, and PyYAML takes its time.
@functools.lru_cache(maxsize=10_000)
def _yaml_value(text: str) -> str:
    value = yaml.safe_dump(json.loads(text), default_flow_style=True, width=1000, allow_unicode=True)
    # PyYAML ends a bare scalar with a document end mark.
    return value.removesuffix("...\n").strip()


class _OneOfEach(yaml.SafeLoader):
    """YAML of which no field stands twice; of two, PyYAML takes the last without a word."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key) for key, _ in node.value]
        twice = [name for name in dict.fromkeys(map(str, names)) if list(map(str, names)).count(name) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]} stands there twice")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.",
            expected="a text file with one 'field: value' a line",
            fix="Check the path; params/demo.yaml is an example.",
        ) from None
    try:
        values = yaml.load(text, _OneOfEach)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise StudyError(
            f"{path} is not valid YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            expected="one 'field: value' a line",
            fix="Compare it with params/demo.yaml; text with ': ' or '#' needs quotes.",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise StudyError(
            f"{path} holds {type(values).__name__}, not fields.",
            expected="one 'field: value' a line",
            fix="Compare it with params/demo.yaml.",
        )
    return values
