"""Build the earlier methods of Table 3 by name. The module of a method is imported when the method is built."""

from __future__ import annotations

from importlib import import_module

from wbcstudy.errors import StudyError
from wbcstudy.registry import METHODS, MethodRow, pick


def method_row(name: str) -> MethodRow:
    """Return the row of a name.

    Raises:
        StudyError: unknown name; the message lists the known names and suggests the closest.
    """
    return pick(METHODS, name, "earlier method")


def build_method(name: str, **params):
    """Build an unfitted method.

    Args:
        name: a key of `METHODS`.
        params: parameters of its class that replace the defaults.

    Returns:
        A `wbcstudy.baselines.base.Method`.

    Raises:
        StudyError: unknown name or parameter, or a missing package.
    """
    row = method_row(name)
    if not row.available:
        raise StudyError(
            f"The method {name!r} needs the package {row.needs!r}, which is not installed.",
            expected=f"an environment with {row.needs}",
            fix=f"Install {row.needs}, or remove {name!r} from `baselines`.",
        )
    module, _, class_name = row.builder.partition(":")
    method_class = getattr(import_module(f"wbcstudy.baselines.{module}"), class_name)
    given = {**row.fixed, **params}
    known = method_class().get_params(deep=False)
    for key in given:
        if key not in known:
            raise StudyError(
                f"The method {name!r} has no parameter {key!r}.",
                expected=", ".join(known) or "no parameters",
                fix="Correct the name, or remove the parameter.",
            )
    return method_class(**given)
