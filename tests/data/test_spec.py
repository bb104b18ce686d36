"""The fields of dataset.yaml, and the message for each error in it."""

import pytest

from wbcstudy.data.spec import DatasetSpec, read_spec
from wbcstudy.errors import StudyError

GOOD = """
name: ours
images: images/{case}.bmp
masks: masks/{case}.png
labels: {background: ['#FF0000', '#ffff00'], cytoplasm: '#00ff00', nucleus: '#0000ff'}
"""


def read(tmp_path, text):
    (tmp_path / "dataset.yaml").write_text(text, encoding="utf-8")
    return read_spec(tmp_path / "dataset.yaml")


def test_four_lines_are_enough(tmp_path):
    spec = read(tmp_path, GOOD)
    assert spec.labels["background"] == ("#ff0000", "#ffff00")
    assert (spec.uses_colours, spec.tolerance, spec.cases, spec.pixel_size_um) == (True, 0, None, None)


def test_the_editors_byte_order_mark_does_no_harm(tmp_path):
    assert read(tmp_path, "\ufeff" + GOOD).name == "ours"


def test_a_frozen_spec(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        read(tmp_path, GOOD).name = "other"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tolerence: 3", "Did you mean 'tolerance'?"),
        ("tolerance: -1", "a number from 0 to 442"),
        ("tolerance: 1000", "a number from 0 to 442"),
        ("pixel_size_um: 0", "greater than 0"),
        ("name: a/b", "letters, digits"),
        ("images: images/*.bmp", "a pattern with {case}"),
        ("images: images/{case}{0}.bmp", "no other braces than {case}, {group}, {cell_type}, {folder}"),
        ("images: '{patient}/{case}.bmp'", "no other braces than {case}, {group}, {cell_type}, {folder}"),
        ("images: '*_{group}_{case}_{cell_type}_*.bmp'", "at most 4 fields"),
        ("images: '*/*/*/*/{case}.bmp'", "at most 3 '*'"),
        ("images: /etc/{case}.bmp", "below the folder of dataset.yaml"),
        ("images: ../{case}.bmp", "below the folder of dataset.yaml"),
        ("masks: a/../../{case}.bmp", "below the folder of dataset.yaml"),
        ("masks: 'C:/a/{case}.bmp'", "with '/' between folders"),
        ("masks: 'masks\\{case}.bmp'", "with '/' between folders"),
        ("cases: ../cases.csv", "below the folder of dataset.yaml"),
        ("masks: images/{case}.bmp", "different patterns"),
        ("labels: {background: 0, nucleus: 2}", "exactly these labels"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: 2, platelet: 3}", "exactly these labels"),
        ("labels: 3", "exactly these labels"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: 1}", "1 is listed more than once"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: '#0000ff'}", "either numbers for all labels"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: '#00f'}", "nucleus has '#00f'"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: 2.5}", "nucleus has 2.5"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: true}", "nucleus has True"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: 70000}", "nucleus has 70000"),
        ("labels: {background: 0, cytoplasm: 1, nucleus: []}", "a value for nucleus"),
        ("labels:\n  background: '#000000'\n  cytoplasm: '#00ff00'\n  nucleus: #0000ff", "reads it as a comment"),
    ],
)
def test_each_error_is_reported_with_its_rule(tmp_path, line, message):
    field = line.split(":")[0]
    kept = "\n".join(row for row in GOOD.splitlines() if not row.startswith(field + ":"))
    with pytest.raises(StudyError) as caught:
        read(tmp_path, f"{kept}\n{line}\n")
    assert message in str(caught.value)
    assert "dataset.yaml" in caught.value.message


@pytest.mark.parametrize("field", ["name", "images", "masks", "labels"])
def test_a_field_left_out(tmp_path, field):
    kept = "\n".join(row for row in GOOD.splitlines() if not row.startswith(field + ":"))
    with pytest.raises(StudyError, match=rf"dataset\.yaml lacks {field}"):
        read(tmp_path, kept)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "just words", "1: 2", "a: b: c", "\x00"])
def test_text_without_fields(tmp_path, text):
    with pytest.raises(StudyError, match=r"dataset\.yaml"):
        read(tmp_path, text)


def test_yaml_cannot_make_objects(tmp_path):
    with pytest.raises(StudyError, match="not valid YAML"):
        read(tmp_path, GOOD + "title: !!python/object/apply:os.getcwd []\n")


def test_a_file_that_is_missing_or_binary(tmp_path):
    with pytest.raises(StudyError, match="No such file"):
        read_spec(tmp_path / "dataset.yaml")
    (tmp_path / "dataset.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(StudyError, match="not a text file"):
        read_spec(tmp_path / "dataset.yaml")


def test_every_field_has_a_description():
    assert all(field.description for field in DatasetSpec.model_fields.values())
