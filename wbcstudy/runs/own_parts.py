"""Record the parts of a training that a user wrote: loss, callbacks, augmentation.

run.json has the name, the settings and the source of each part. A training resumes only with equal parts.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import linecache
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from wbcstudy.wording import join_words

# Packages whose code is recorded by name, since run.json has their versions.
_LIBRARIES = ("keras", "tensorflow", "numpy", "builtins", "functools")
# Settings of Keras objects that differ between equal objects, or that have no effect.
_NO_SETTINGS = ("name", "dtype", "trainable", "build_config", "registered_name", "module", "shared_object_id")
_MOST_VALUES = 1000

# What a user can replace -> its title in sentences.
PARTS = {"loss": "loss", "callbacks": "callback", "augmentation": "augmentation"}


def describe_parts(parts: Mapping[str, Sequence[Any]]) -> dict[str, list[dict[str, Any]]]:
    """Describe the user's parts of a training for run.json.

    Args:
        parts: key of `PARTS` -> objects; empty if the user has none.

    Returns:
        Key of `PARTS` -> one dict per object, see `describe_part`; parts without objects are left out.
    """
    return {part: [describe_part(each) for each in objects] for part, objects in parts.items() if len(objects)}


def describe_part(part: Any, changes: bool = False) -> dict[str, Any]:
    """Describe a function, or an object of a class, so that equal descriptions mean equal computations.

    Args:
        part: a function, a `functools.partial`, or an object of any class.
        changes: whether its code may fill lists and dicts outside of it, as callbacks do; their content does not count.

    Returns:
        name: of the function or class.
        module: where it is defined; `__main__` is a notebook.
        settings: of the object, for example `{"alpha": 0.3}`.
        source: its Python code; None for code of Keras, TensorFlow or NumPy, and where the code is not available.
        uses: name -> value or source of the constants, functions and classes that the code uses.
        sha256: of all these.
    """
    kind = _unwrap(part) if _is_function(part) else type(part)
    described: dict[str, Any] = {
        "name": kind.__name__,
        "module": kind.__module__,
        "settings": _settings(part),
        "source": read_source(kind),
        "uses": _used_names(kind),
    }
    if changes:
        described["uses"] = {
            name: type(value).__name__ if isinstance(value, (list, dict)) else value
            for name, value in described["uses"].items()
        }
    text = json.dumps(described, sort_keys=True)
    return described | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def compare_parts(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """Return the differences between two results of `describe_parts`, one clause for each part."""
    before, now = before or {}, now or {}
    return [
        _describe_change(title, before.get(part, ()), now.get(part, ()))
        for part, title in PARTS.items()
        if _sums(before.get(part, ())) != _sums(now.get(part, ()))
    ]


def name_parts(described: Mapping[str, Any] | None) -> str:
    """Return for example "loss Tversky (alpha 0.3, beta 0.7) and callback Report"; "" without such parts."""
    described = described or {}
    return join_words(
        [f"{title} {_name_part(each)}" for part, title in PARTS.items() for each in described.get(part, ())]
    )


def read_source(kind: Any) -> str | None:
    """Return the Python code of a function or class, also of one that a notebook defines; None if not available."""
    if _is_library(kind):
        return None
    if inspect.isclass(kind) and (source := _class_source(kind)):
        return source
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return None
    return source if not inspect.isclass(kind) or f"class {kind.__name__}" in source else None


def _class_source(kind: type) -> str | None:
    """Find a class in the cell or file that defined its methods.

    Of a class in a notebook, `inspect` looks for a file, or from Python 3.13 on returns lines of another one.
    """
    for method in vars(kind).values():
        if not inspect.isfunction(method):
            continue
        text = "".join(linecache.getlines(method.__code__.co_filename))
        try:
            nodes = list(ast.walk(ast.parse(text)))
        except (SyntaxError, ValueError):
            continue
        for node in nodes:
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                return ast.get_source_segment(text, node)
    return None


def _used_names(kind: Any, seen: frozenset[Any] = frozenset()) -> dict[str, Any]:
    """Return the constants, functions and classes of the user that some code uses, by name."""
    if _is_library(kind):
        return {}
    functions = (
        [kind] if inspect.isfunction(kind) else [each for each in vars(kind).values() if inspect.isfunction(each)]
    )
    seen, used = seen | {kind}, {}
    for function in functions:
        try:
            variables = inspect.getclosurevars(function)
        except (TypeError, ValueError):
            continue
        used |= _describe_used(variables.globals | variables.nonlocals, seen)
    return dict(sorted(used.items()))


def _describe_used(variables: Mapping[str, Any], seen: frozenset[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, value in variables.items():
        if isinstance(value, ModuleType) or name == "__class__":
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            if value not in seen and not _is_library(value):
                described[name] = read_source(value)
                described |= _used_names(value, seen)
        else:
            described[name] = _plain(value)
    return described


def _settings(part: Any) -> dict[str, Any]:
    if isinstance(part, functools.partial):
        return {f"argument {i}": _plain(value) for i, value in enumerate(part.args, 1)} | _plain(part.keywords)
    if _is_function(part):
        parameters = inspect.signature(part).parameters.values() if inspect.isfunction(part) else ()
        return {each.name: _plain(each.default) for each in parameters if each.default is not each.empty}
    try:
        config = part.get_config() if hasattr(part, "get_config") else {}
    except (NotImplementedError, TypeError, ValueError):
        config = {}
    if not _is_library(type(part)) or not config:
        # A class of one's own need not have a complete `get_config`. Callbacks have none.
        public = {name: value for name, value in vars(part).items() if not name.startswith("_")}
        config = {name: value for name, value in public.items() if _is_simple(value)} | config
    return _plain(config)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it; other objects are represented by the name of their class."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items() if key not in _NO_SETTINGS}
    if isinstance(value, np.ndarray):
        return hashlib.sha256(repr((value.shape, value.dtype)).encode() + value.tobytes()).hexdigest()
    if isinstance(value, (list, tuple, set, frozenset)) and len(value) <= _MOST_VALUES:
        return [_plain(each) for each in (sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)]
    if _is_function(value):
        return read_source(_unwrap(value)) or _unwrap(value).__name__
    return f"{type(value).__module__}.{type(value).__name__}"


def _is_simple(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_simple, value))
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def _is_function(part: Any) -> bool:
    return isinstance(part, functools.partial) or inspect.isroutine(part) or inspect.isclass(part)


def _unwrap(part: Any) -> Any:
    while isinstance(part, functools.partial):
        part = part.func
    return part


def _is_library(kind: Any) -> bool:
    return (getattr(kind, "__module__", None) or "builtins").partition(".")[0] in _LIBRARIES


def _sums(parts: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [each.get("sha256") for each in parts]


def _describe_change(title: str, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    if [each.get("name") for each in before] == [each.get("name") for each in now]:
        names = join_words([str(each.get("name")) for each in now])
        return f"the code or the settings of its {title} {names} are now others"
    names = [join_words([_name_part(each) for each in parts]) or "none of your own" for parts in (before, now)]
    return f"its {title} was {names[0]}, now {names[1]}"


def _name_part(part: Mapping[str, Any]) -> str:
    values = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in (part.get("settings") or {}).items()
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 20)
    ]
    return str(part.get("name")) + (f" ({', '.join(values[:4])})" if values else "")
