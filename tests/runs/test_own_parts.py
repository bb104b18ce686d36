"""The record of a user's own loss, callbacks and augmentation."""

import functools
import json
import linecache

import pytest

from wbcstudy.runs.own_parts import compare_parts, describe_part, describe_parts, name_parts

STRENGTH = 2.0


def half(value):
    return value / 2


def weighted(reference, prediction):
    return half(STRENGTH * (reference - prediction))


class Report:
    def __init__(self, every=5):
        self.every = every
        self._private = object()

    def __call__(self, epoch):
        return epoch % self.every


def run_cell(source, name):
    """Define names as a notebook does, whose code is in `linecache` only."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    scope = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), scope)
    return scope


def test_a_function_is_described_by_its_code_and_by_what_it_uses():
    described = describe_part(weighted)
    assert described["name"] == "weighted"
    assert described["source"].startswith("def weighted(reference, prediction):")
    assert described["uses"]["STRENGTH"] == 2.0
    assert described["uses"]["half"].startswith("def half(value):")
    json.dumps(described)


@pytest.mark.parametrize("change", ["constant", "helper", "code"])
def test_another_constant_helper_or_code_is_another_part(change):
    source = "K = 2\ndef helper(x):\n    return x + 1\ndef mine(x):\n    return K * helper(x)\n"
    other = {
        "constant": source.replace("K = 2", "K = 3"),
        "helper": source.replace("x + 1", "x + 2"),
        "code": source.replace("K * ", "2 * K * "),
    }[change]
    first, again, changed = (
        describe_part(run_cell(text, f"<cell {i} {change}>")["mine"]) for i, text in enumerate((source, source, other))
    )
    assert first == again
    assert first["sha256"] != changed["sha256"]


def test_the_code_of_a_class_in_a_notebook_is_found():
    cell = "import math\n\nclass Mine:\n    rate = 3\n\n    def step(self):\n        return math.pi\n"
    described = describe_part(run_cell(cell, "<cell class>")["Mine"]())
    assert described["source"] == cell.partition("\n\n")[2].rstrip()
    assert described["module"] == "__main__"


def test_settings_of_objects_and_of_partial_functions_are_recorded():
    assert describe_part(Report(every=7))["settings"] == {"every": 7}
    assert describe_part(Report(7))["sha256"] != describe_part(Report(8))["sha256"]
    partial = describe_part(functools.partial(weighted, prediction=0.5))
    assert (partial["name"], partial["settings"]) == ("weighted", {"prediction": 0.5})


def test_a_change_is_named():
    mine, other, callback = (describe_parts({part: [value]}) for part, value in CHANGED)
    assert compare_parts(mine, mine) == compare_parts(None, {}) == []
    assert compare_parts(mine, other) == ["the code or the settings of its loss Report are now others"]
    assert compare_parts(mine, None) == ["its loss was Report (every 7), now none of your own"]
    assert compare_parts({}, callback) == ["its callback was none of your own, now weighted"]


CHANGED = (("loss", Report(7)), ("loss", Report(8)), ("callbacks", weighted))


def test_parts_are_named_with_their_settings():
    described = describe_parts({"loss": [Report(7)], "callbacks": [weighted], "augmentation": []})
    assert list(described) == ["loss", "callbacks"]
    assert name_parts(described) == "loss Report (every 7) and callback weighted"
    assert name_parts(None) == ""
