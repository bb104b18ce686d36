"""Each case is in one part of a split, and the parts have the requested sizes and proportions of cell types."""

import itertools
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.data.datasets import Case, load_dataset
from wbcstudy.data.duplicates import known_duplicates
from wbcstudy.data.records import Split, split_hash
from wbcstudy.data.splits import find_leaks, load_or_make_splits, make_splits
from wbcstudy.errors import StudyError

TYPES = (None, "neutrophil", "lymphocyte", "basophil")


def case(k, cell_type=None, group=None):
    return Case(f"{k:04d}", Path(f"{k}.bmp"), Path(f"{k}.png"), cell_type, group)


def split(cases, folds=1, test=0.2, validation=0.2, seed=0, duplicates=()):
    return make_splits(
        cases, folds=folds, test_fraction=test, validation_fraction=validation, seed=seed, duplicates=duplicates
    )


def parts(one):
    return one.train, one.validation, one.test


@st.composite
def collections(draw, max_groups=8):
    """Cases with cell types, groups and duplicates, some unknown."""
    n = draw(st.integers(3, 60))
    types = draw(st.lists(st.sampled_from(TYPES), min_size=n, max_size=n))
    groups = draw(st.lists(st.sampled_from([None, *map(str, range(max_groups))]), min_size=n, max_size=n))
    if draw(st.booleans()):
        groups = [None] * n
    ids = st.integers(0, n - 1).map(lambda k: f"{k:04d}")
    duplicates = draw(st.lists(st.lists(ids, min_size=2, max_size=3, unique=True), max_size=2))
    return [case(k, types[k], groups[k]) for k in range(n)], duplicates


@settings(max_examples=60, deadline=None)
@given(collections(), st.integers(1, 6), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_each_case_is_in_exactly_one_part(made, folds, test, validation, seed):
    cases, duplicates = made
    try:
        splits = split(cases, folds, test, validation, seed, duplicates)
    except StudyError as error:
        assert "cannot be split" in error.message
        return
    everything = {case.case_id for case in cases}
    for one in splits:
        assert all(parts(one))
        assert sum(map(len, parts(one))) == len(everything)
        assert set().union(*parts(one)) == everything
        side = {case_id: name for name, part in zip("tve", parts(one), strict=True) for case_id in part}
        for together in duplicates:
            assert len({side[case_id] for case_id in together}) == 1
        for group in {case.group for case in cases} - {None}:
            assert len({side[case.case_id] for case in cases if case.group == group}) == 1
    if folds > 1:
        assert len(splits) == folds
        assert sorted(itertools.chain(*(one.test for one in splits))) == sorted(everything)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(TYPES), min_size=5, max_size=120),
    st.floats(0.05, 0.8),
    st.floats(0.05, 0.8),
    st.integers(0, 99),
)
def test_without_groups_sizes_are_exact_and_types_within_one_case(types, test, validation, seed):
    cases = [case(k, cell_type) for k, cell_type in enumerate(types)]
    (one,) = split(cases, 1, test, validation, seed)
    n = len(cases)
    assert len(one.test) == min(max(round(n * test), 1), n - 2)
    rest = n - len(one.test)
    assert len(one.validation) == min(max(round(rest * validation), 1), rest - 1)
    if 1 <= round(n * test) <= n - 2:
        type_of = {case.case_id: case.cell_type for case in cases}
        tested, whole = Counter(type_of[case_id] for case_id in one.test), Counter(types)
        assert all(abs(tested[kind] - whole[kind] * test) < 1 + 1e-9 for kind in whole)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(TYPES), min_size=10, max_size=100), st.integers(2, 8), st.integers(0, 99))
def test_folds_are_equally_large_and_each_holds_its_share_of_every_type(types, folds, seed):
    cases = [case(k, cell_type) for k, cell_type in enumerate(types)]
    type_of = {case.case_id: case.cell_type for case in cases}
    tests = [one.test for one in split(cases, folds, seed=seed)]
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    for kind in set(types):
        per_fold = [sum(type_of[case_id] == kind for case_id in test) for test in tests]
        assert max(per_fold) - min(per_fold) <= 1


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=9), st.floats(0.05, 0.6), st.integers(0, 9))
def test_with_groups_the_test_part_is_as_near_as_whole_groups_allow(sizes, test, seed):
    cases = [case(100 * g + k, None, f"g{g}") for g, size in enumerate(sizes) for k in range(size)]
    target = max(round(len(cases) * test), 1)
    choices = [sum(c) for r in range(1, len(sizes) - 1) for c in itertools.combinations(sizes, r)]
    (one,) = split(cases, 1, test, seed=seed)
    assert abs(len(one.test) - target) == min(abs(choice - target) for choice in choices)


def test_groups_of_mixed_types_are_chosen_for_their_proportions():
    # Twenty patients; one half has lymphocytes only, the other neutrophils only.
    cases = [case(10 * g + k, TYPES[1 + g % 2], f"p{g}") for g in range(20) for k in range(3 + g % 3)]
    type_of = {case.case_id: case.cell_type for case in cases}
    for seed in range(5):
        (one,) = split(cases, seed=seed)
        share = sum(type_of[case_id] == "neutrophil" for case_id in one.test) / len(one.test)
        assert 0.4 < share < 0.6


def test_eighty_cases_on_eight_slides():
    cases = [case(k, TYPES[1 + k % 3], f"slide{k % 8}") for k in range(80)]
    (one,) = split(cases)
    assert [len(part) for part in parts(one)] == [50, 10, 20]


def test_fewer_training_cases_are_a_part_of_more_and_nothing_else_changes():
    cases = [case(k, TYPES[1 + k % 3], str(k // 2)) for k in range(90)]
    options = {"folds": 1, "test_fraction": 0.2, "validation_fraction": 0.2, "seed": 3}
    (whole,) = make_splits(cases, **options)
    drawn = {n: make_splits(cases, **options, max_training_cases=n)[0] for n in (3, 6, 12, 24, 500)}
    assert drawn[500] == whole and [len(drawn[n].train) for n in (3, 6, 12, 24)] == [3, 6, 12, 24]
    for fewer, more in itertools.pairwise(drawn.values()):
        assert set(fewer.train) <= set(more.train) and fewer.parts[1:] == whole.parts[1:]
    # Each type has about its share, however few cases there are.
    of_type = {case.case_id: case.cell_type for case in cases}
    types = Counter(of_type[case_id] for case_id in whole.train)
    for one in drawn.values():
        drawn_types = Counter(of_type[case_id] for case_id in one.train)
        for kind, count in types.items():
            assert abs(drawn_types[kind] - count * len(one.train) / len(whole.train)) < 2
    other = make_splits(cases, **options | {"seed": 4}, max_training_cases=12)[0]
    assert set(other.train) != set(drawn[12].train)


def test_the_only_case_of_a_type_is_no_obstacle():
    (one,) = split([case(0, "basophil"), *(case(k, "monocyte") for k in range(1, 300))])
    assert [len(part) for part in parts(one)] == [192, 48, 60]


def test_the_seed_and_not_the_order_of_cases_decides():
    cases = [case(k, TYPES[k % 4], str(k // 3)) for k in range(60)]
    assert split(cases) == split(cases[::-1])
    assert split_hash(split(cases)) == split_hash(split(cases[::-1]))
    assert len({split_hash(split(cases, seed=seed)) for seed in range(8)}) == 8


def test_duplicates_join_groups():
    cases = [case(k, None, "ab"[k // 2]) for k in range(4)] + [case(k) for k in range(4, 9)]
    for seed in range(10):
        (one,) = split(cases, seed=seed, duplicates=[("0001", "0002")])
        assert any({"0000", "0001", "0002", "0003"} <= set(part) for part in parts(one))


@pytest.mark.parametrize(
    ("cases", "folds", "message"),
    [
        ([], 1, "0 cases cannot be split.\nExpected: at least 3"),
        ([case(0), case(1)], 1, "2 cases cannot be split.\nExpected: at least 3"),
        (
            [case(k, None, "p") for k in range(9)],
            1,
            "9 cases in 1 group cannot be split: p (9 cases).\nExpected",
        ),
        ([case(k) for k in range(3)], 2, "3 cases cannot be split into 2 folds.\nExpected: at least 4"),
        (
            [case(k, None, str(k % 4)) for k in range(9)],
            5,
            "9 cases in 4 groups cannot be split into 5 folds: 0 (3 cases), 1 (",
        ),
    ],
)
def test_too_few_to_fill_every_part(cases, folds, message):
    with pytest.raises(StudyError) as caught:
        split(cases, folds)
    assert message in str(caught.value)


@pytest.mark.parametrize(("n", "folds"), [(3, 1), (4, 2), (3, 3), (5, 5)])
def test_as_many_as_needed_are_enough(n, folds):
    for one in split([case(k) for k in range(n)], folds):
        assert all(parts(one))


def test_leaks_are_counted_fold_by_fold_and_through_other_cases():
    folds = (Split(("a", "b"), ("c",), ("d", "e")), Split(("d", "e"), ("a",), ("b", "c")))
    assert find_leaks(folds, []) == ((), ())
    assert find_leaks(folds, [("b", "x"), ("x", "d")]) == (("b", "d"), ())
    assert find_leaks(folds, [("a", "c"), ("d", "e")]) == ((), ("c",))


def test_no_fold_divides_the_pairs_of_dataset_1():
    pairs = [tuple(f"0{case_id}" for case_id in pair.case_ids) for pair in known_duplicates("segmentation_wbc_1")]
    cases = [case(k, None, None) for k in range(1, 301)]
    for seed in range(10):
        assert find_leaks(split(cases, 5, seed=seed), pairs) != ((), ())
        assert find_leaks(split(cases, 5, seed=seed, duplicates=pairs), pairs) == ((), ())
        assert find_leaks(split(cases, seed=seed, duplicates=pairs), pairs) == ((), ())


class TestSaved:
    @pytest.fixture
    def dataset(self, make_folder):
        return load_dataset(make_folder(cases=10))

    def test_is_made_once_and_read_back(self, tmp_path, dataset):
        path = tmp_path / "outputs" / "demo" / "split.json"
        made = load_or_make_splits(path, dataset, StudyConfig())
        first = path.read_bytes()
        assert load_or_make_splits(path, dataset, RunConfig()) == made
        assert path.read_bytes() == first
        assert {entry.name for entry in path.parent.iterdir()} == {"split.json", "duplicates.json"}
        record = json.loads(first)
        assert record["dataset"] == dataset.fingerprint
        fractions = {"test_fraction": 0.2, "validation_fraction": 0.2}
        others = {"split_seed": 0, "max_training_cases": 0, "near_duplicates": True}
        assert record["settings"] == {"folds": 1, **fractions, **others} and "unused" not in record
        assert made == (Split(*(tuple(record["folds"][0][name]) for name in ("train", "validation", "test"))),)

    def test_of_an_earlier_version_has_no_setting_for_duplicates(self, tmp_path, dataset):
        path = tmp_path / "split.json"
        made = load_or_make_splits(path, dataset, StudyConfig())
        record = json.loads(path.read_text())
        del record["settings"]["near_duplicates"], record["settings"]["max_training_cases"], record["format"]
        path.write_text(json.dumps(record))
        assert load_or_make_splits(path, dataset, StudyConfig()) == made

    def test_training_cases_that_are_not_used_are_recorded(self, tmp_path, dataset):
        path, config = tmp_path / "split.json", StudyConfig(max_training_cases=3)
        (made,) = load_or_make_splits(path, dataset, config)
        assert len(made.train) == 3 and load_or_make_splits(path, dataset, config) == (made,)
        unused = json.loads(path.read_text())["unused"]
        assert sorted([*unused, *(case_id for part in parts(made) for case_id in part)]) == sorted(
            case.case_id for case in dataset.cases
        )
        with pytest.raises(StudyError, match="max_training_cases was 3, is 0"):
            load_or_make_splits(path, dataset, StudyConfig())

    def test_equal_images_stay_in_one_part(self, tmp_path, make_folder):
        path = make_folder(cases=6)
        for k in (2, 3):
            Image.open(path.parent / "images/001.bmp").save(path.parent / f"images/{k:03d}.bmp")
        for seed in range(6):
            config = StudyConfig(split_seed=seed, test_fraction=0.4)
            (one,) = load_or_make_splits(tmp_path / f"{seed}.json", load_dataset(path), config)
            assert any({"001", "002", "003"} <= set(part) for part in parts(one))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("folds", 3),
            ("test_fraction", 0.3),
            ("validation_fraction", 0.3),
            ("split_seed", 1),
            ("near_duplicates", False),
            ("max_training_cases", 3),
        ],
    )
    def test_other_settings_are_refused(self, tmp_path, dataset, field, value):
        load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig())
        with pytest.raises(StudyError, match=f"other settings: {field} was .*, is {value}") as caught:
            load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig(**{field: value}))
        assert "new study" in caught.value.fix

    def test_settings_that_do_not_touch_the_split_may_change(self, tmp_path, dataset):
        made = load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig())
        assert load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig(epochs=3, image_size=64)) == made

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("mask", "the cases are the same"),
            ("fewer", r"1 case removed \(009\)"),
            ("more", r"1 case added \(010\)"),
        ],
    )
    def test_a_dataset_that_changed_is_refused(self, tmp_path, dataset, change, message):
        load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig())
        files = [dataset.folder / "images/009.bmp", dataset.folder / "masks/009.png"]
        if change == "mask":
            Image.new("L", (16, 12)).save(files[1])
        for file in files if change != "mask" else []:
            if change == "more":
                file.with_name(file.name.replace("009", "010")).write_bytes(file.read_bytes())
            else:
                file.unlink()
        with pytest.raises(StudyError, match=message) as caught:
            load_or_make_splits(tmp_path / "split.json", load_dataset(dataset.folder), StudyConfig())
        assert "new name" in caught.value.fix

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folds": 3}'])
    def test_a_damaged_file_is_not_replaced(self, tmp_path, dataset, text):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(StudyError, match=r"split\.json is damaged"):
            load_or_make_splits(tmp_path / "split.json", dataset, StudyConfig())
        assert (tmp_path / "split.json").read_text() == text

    def test_no_write_permission(self, tmp_path, dataset):
        (tmp_path / "file").touch()
        with pytest.raises(StudyError, match="Cannot write"):
            load_or_make_splits(tmp_path / "file" / "split.json", dataset, StudyConfig())

    def test_of_several_runs_that_start_at_once_the_first_wins(self, tmp_path, dataset, monkeypatch):
        barrier = threading.Barrier(4)

        def all_at_once(*args, **kwargs):
            barrier.wait(30)
            return make_splits(*args, **kwargs)

        monkeypatch.setattr("wbcstudy.data.splits.make_splits", all_at_once)
        path = tmp_path / "new" / "split.json"
        with ThreadPoolExecutor(4) as pool:
            made = pool.map(lambda _: load_or_make_splits(path, dataset, StudyConfig()), range(4))
            assert len({split_hash(splits) for splits in made}) == 1
        assert {entry.name for entry in path.parent.iterdir()} == {"split.json", "duplicates.json"}

    def test_a_run_with_other_settings_that_starts_at_once_is_refused(self, tmp_path, dataset, monkeypatch):
        path = tmp_path / "split.json"

        def meanwhile(*args, **kwargs):
            monkeypatch.undo()
            load_or_make_splits(path, dataset, StudyConfig(split_seed=1))
            return make_splits(*args, **kwargs)

        monkeypatch.setattr("wbcstudy.data.splits.make_splits", meanwhile)
        with pytest.raises(StudyError, match="split_seed was 1, is 0"):
            load_or_make_splits(path, dataset, StudyConfig())
