"""Class names of annotation programs become labels."""

import pytest

from wbcstudy.data.class_names import guess_label, read_class_table


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Nucleus", "nucleus"),
        ("wbc_nuclei", "nucleus"),
        ("Cytoplasm", "cytoplasm"),
        ("WBC", "cytoplasm"),
        ("whiteBloodCell", "cytoplasm"),
        ("RBC", "background"),
        ("_background_", "background"),
        ("red blood cell", "background"),
        ("Zelle 3", None),
    ],
)
def test_class_names(name, label):
    assert guess_label(name) == label


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        (
            "labelmap.txt",
            "# label:color_rgb\nbackground:0,0,0::\nnucleus:255,0,16::\n",
            {"#000000": "background", "#ff0010": "nucleus"},
        ),
        ("dataset.json", '{"labels": {"background": 0, "nucleus": 2}}', {0: "background", 2: "nucleus"}),
        ("dataset.json", '{"labels": {"0": "background", "1": "nucleus"}}', {0: "background", 1: "nucleus"}),
        ("_classes.csv", "Pixel Value, Class\n0, background\n3, nucleus\n", {0: "background", 3: "nucleus"}),
        ("class_names.txt", "__ignore__\n_background_\nnucleus\n", {0: "_background_", 1: "nucleus"}),
        ("dataset.json", '{"labels": 3}', {}),
        ("dataset.json", "[[", {}),
        ("labelmap.txt", "nucleus:1,2,900\n", {}),
        ("_classes.csv", "a\nb,c\n", {}),
    ],
)
def test_tables_of_classes(tmp_path, name, text, classes):
    (tmp_path / name).write_text(text)
    assert read_class_table([tmp_path / "missing", tmp_path]) == classes
