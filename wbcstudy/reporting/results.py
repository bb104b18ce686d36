"""Everything that the report shows of a study, computed from its run folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.config import StudyConfig
from wbcstudy.config_io import read_study
from wbcstudy.data.arrays import read_scored_case
from wbcstudy.data.datasets import Dataset, find_spec, load_dataset, read_case
from wbcstudy.data.duplicates import Duplicate, merge_groups, read_duplicates
from wbcstudy.data.records import Split, read_dataset_record, read_groups, read_split
from wbcstudy.data.splits import find_leaks
from wbcstudy.errors import StudyError
from wbcstudy.reporting.tables.areas import make_areas
from wbcstudy.reporting.tables.boundary import load_boundaries, make_boundary
from wbcstudy.reporting.tables.calibration import make_calibration
from wbcstudy.reporting.tables.cell_types import make_cell_types
from wbcstudy.reporting.tables.costs import make_costs
from wbcstudy.reporting.tables.paper import make_ensemble, make_table1, make_table2
from wbcstudy.reporting.tables.ranks import make_ranks
from wbcstudy.reporting.tables.render import format_html
from wbcstudy.reporting.tables.study_tables import Table, make_tables
from wbcstudy.reporting.tables.table3 import MeasuredMethod, load_measured, make_table3
from wbcstudy.reporting.tables.transfer import Transfer, load_transfer, make_flips
from wbcstudy.reporting.text.certainty import Certainty, describe_certainty
from wbcstudy.runs.find_study import find_study_file
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import Run, load_usable_runs, read_predictions
from wbcstudy.scoring.calibration import Reliability, read_reliability
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.comparison import Comparison, compare_regions
from wbcstudy.scoring.decision import Decision, decide
from wbcstudy.scoring.ensemble import score_votes
from wbcstudy.scoring.questions import Answer, answer_questions
from wbcstudy.scoring.rank_stability import RankStability, resample_ranks
from wbcstudy.scoring.ranks import RankTest, friedman_nemenyi
from wbcstudy.scoring.selection import (
    TABLE_REGIONS,
    Best,
    Pair,
    average_scores,
    comparable_runs,
    drop_absent_regions,
    group_runs,
    read_scores,
)
from wbcstudy.study.other_datasets import OtherDataset
from wbcstudy.wording import join_words


def load_results(study_file: str | Path) -> StudyResults:
    """Load the finished and failed runs of a study.

    Args:
        study_file: path of the study's file, its folder in outputs/, or its name.
    """
    config = read_study(find_study_file(study_file))
    study = StudyFolder.of(config.name)
    used = (study.run("").predictions.name,)
    runs, problems = load_usable_runs(study, [run.name for run in config.runs()], used)
    for run in config.baseline_runs():
        if problem := study.baseline(run.name).find_problem(used):
            problems[run.name] = problem
    try:
        if read_dataset_record(study.dataset) is None and runs:
            problems[study.dataset.name] = _missing(study.dataset, "the label shares")
    except StudyError as error:
        problems[study.dataset.name] = error
    if config.also_score and not study.other_datasets.exists() and any(study.runs.glob("*/transfer/*/run.json")):
        problems[study.other_datasets.name] = _missing(study.other_datasets, "scores on other datasets")
    if deleted := [
        run.name for run in runs if used[0] in run.record.get("files", {}) and not run.folder.predictions.exists()
    ]:
        masks = f"{used[0]} of {join_words(deleted, most=5)}"
        problems[used[0]] = _missing(masks, "example figures of these runs and the vote of the networks")
    return StudyResults(study, config, runs, problems=problems)


def _missing(files: Path | str, content: str) -> StudyError:
    return StudyError(
        f"{files} is missing: {content} may be left out.",
        expected="all files of the study",
        fix="Restore it from a copy. Records of the datasets are written again by `wbcstudy run`.",
    )


class StudyResults:
    """A study's runs and what the report derives from them. Each value is computed once, when it is first needed.

    Args:
        study: the study's folder.
        config: settings of the study.
        runs: finished and failed runs.
        groups: case id -> slide, patient or laboratory; images of a group count as one. Read from the dataset if None.
            Duplicates are added.
        problems: name of each run or earlier method that is left out because of its files -> reason.
    """

    def __init__(
        self,
        study: StudyFolder,
        config: StudyConfig,
        runs: Iterable[Run],
        groups: Groups | None = None,
        problems: Mapping[str, StudyError] | None = None,
    ) -> None:
        self.study, self.config, self.runs, self.problems = study, config, list(runs), dict(problems or {})
        self._groups = groups
        self._predictions: dict[RunFolder, dict[str, np.ndarray]] = {}
        self._cases: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __repr__(self) -> str:
        failed = len(self.runs) - len(self.complete)
        return f"Study {self.study.name}: {len(self.complete)} runs complete, {failed} failed"

    @cached_property
    def complete(self) -> list[Run]:
        """The complete runs."""
        return [run for run in self.runs if run.complete]

    @cached_property
    def comparable(self) -> list[Run]:
        """The complete runs that can be compared, see `comparable_runs`."""
        return comparable_runs(self.runs)

    @cached_property
    def pairs(self) -> dict[Pair, list[Run]]:
        """(encoder, loss), or with starts (encoder, loss, start) -> finished and failed runs, in the paper's order."""
        return group_runs(self.runs)

    @cached_property
    def decision(self) -> Decision | None:
        """Which network to recommend, and why, see `decide`; None where no run has scores."""
        return decide(self.runs, self.config.equivalence_margin, self.groups)

    @cached_property
    def best(self) -> Best | None:
        """The recommended encoder and loss; None where no run has scores."""
        return self.decision.recommended if self.decision else None

    @cached_property
    def best_runs(self) -> list[Run]:
        """The comparable runs of the recommended encoder and loss."""
        return group_runs(self.comparable)[self.best.pair] if self.best else []

    @cached_property
    def score_px(self) -> int | None:
        """Side in px of the square at which all runs were scored; None for each image's own size.

        Raises:
            StudyError: runs were scored by different rules, and cannot share a table.
        """
        rules = {run.config.score_at for run in self.complete}
        rules |= {method.score_at for method in self.measured if method.scores is not None}
        if len(rules) > 1:
            raise StudyError(
                f"The runs of {self.study.name} were not all scored at the same size.",
                expected="the same `score_at` for all runs of a study, so that their scores can be compared",
                fix="Move the runs of one kind to the folder of another study.",
            )
        score_at = rules.pop() if rules else self.config.score_at
        return self.config.model_copy(update={"score_at": score_at}).score_px

    # The data.

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the study; its files must be available."""
        return load_dataset(self.config.dataset)

    @cached_property
    def dataset_record(self) -> dict[str, Any]:
        """Name, title, fingerprint, cases, citation and more of the dataset, from dataset.json or a run."""
        recorded = next((run.record["dataset"] for run in self.complete if run.record.get("dataset")), None)
        stored = None
        with contextlib.suppress(StudyError):
            stored = read_dataset_record(self.study.dataset)
        return dict(stored or recorded or {"name": self.config.dataset})

    @cached_property
    def missing_images(self) -> str:
        """Why the images of the dataset cannot be read (deleted, or on a disk that is not mounted); '' if they can."""
        try:
            if self.dataset.cases:
                read_case(self.dataset, self.dataset.cases[0])
        except StudyError as error:
            return error.message
        return ""

    @cached_property
    def missing_others(self) -> list[OtherDataset]:
        """The other datasets whose files are gone."""
        missing = []
        for other in self.transfer.datasets:
            try:
                find_spec(other.source)
            except StudyError:
                missing.append(other)
        return missing

    @cached_property
    def recorded_groups(self) -> Groups:
        """Case id -> slide, patient or laboratory, for the cases that have one; recorded if the images are gone."""
        if self._groups is not None:
            return self._groups
        return read_groups(self.study.groups) if self.missing_images else self.dataset.groups

    @cached_property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """The duplicates that the study found; in a study of an earlier version, those known of a public dataset."""
        return read_duplicates(self.study.duplicates, self.dataset_record["name"])

    @cached_property
    def groups(self) -> Groups:
        """Case id -> group of dependent images: of one slide, patient or laboratory, or duplicates."""
        return merge_groups(self.recorded_groups, [duplicate.case_ids for duplicate in self.duplicates])

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The folds of the study; () where split.json is absent."""
        splits = read_split(self.study.split)
        return splits[0] if splits else ()

    @cached_property
    def leaks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Test and validation cases that show the same cell as a training image, see `find_leaks`."""
        return find_leaks(self.splits, [duplicate.case_ids for duplicate in self.duplicates])

    def read_cases(self, case_ids: Sequence[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return images and reference masks of cases at the size at which they are scored; each is read once."""
        for case_id in case_ids:
            if case_id not in self._cases:
                self._cases[case_id] = read_scored_case(self.dataset, case_id, self.score_px)
        return [self._cases[case_id][0] for case_id in case_ids], [self._cases[case_id][1] for case_id in case_ids]

    def read_predictions(self, folder: RunFolder) -> dict[str, np.ndarray]:
        """Return case id -> predicted mask of a run; its file is read once."""
        if folder not in self._predictions:
            self._predictions[folder] = read_predictions(folder)
        return self._predictions[folder]

    # Scores.

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of all complete runs, see `read_scores`; an error if they are not of one size, see `score_px`."""
        # Raises an error if the runs were scored at different sizes.
        _ = self.score_px
        return read_scores(self.complete)

    @cached_property
    def comparable_scores(self) -> pd.DataFrame:
        """Scores of the comparable runs."""
        return self.scores_of(self.comparable)

    def scores_of(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Return the scores of some of the complete runs."""
        if self.scores.empty:
            return self.scores
        return drop_absent_regions(self.scores[self.scores["run"].isin([run.name for run in runs])])

    @cached_property
    def averages(self) -> dict[Pair, pd.DataFrame]:
        """Pair -> pooled and mean scores per region, of `scored_runs`."""
        return {pair: average_scores(self.scores_of(runs), self.groups) for pair, runs in self.scored_runs.items()}

    @cached_property
    def scored_runs(self) -> dict[Pair, list[Run]]:
        """Pair -> runs that its scores are of: the comparable or, without any, the complete ones."""
        comparable = {run.name for run in self.comparable}
        complete = {pair: [run for run in runs if run.complete] for pair, runs in self.pairs.items()}
        return {pair: [run for run in runs if run.name in comparable] or runs for pair, runs in complete.items()}

    @cached_property
    def measured(self) -> list[MeasuredMethod]:
        """Scores of the earlier methods."""
        return load_measured(self.study, self.config)

    @cached_property
    def ensemble(self) -> pd.DataFrame:
        """Scores of the majority vote of all pairs; no rows where fewer than three can vote, or without images."""
        runs = [] if self.missing_images else self.complete
        votes = score_votes(runs, None if self.missing_images else self.dataset, self.score_px)
        return make_ensemble(*votes, self.groups)

    # Comparisons.

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """Region -> comparison of the pairs on the test images; regions without scores are left out."""
        if self.comparable_scores.empty:
            return {}
        options = {"groups": self.groups, "planned": self.planned, "margin": self.config.equivalence_margin}
        compared = compare_regions(self.comparable_scores, TABLE_REGIONS, **options)
        return {region: comparison for region, comparison in compared.items() if comparison.leader is not None}

    @cached_property
    def planned(self) -> list[tuple[str, str]] | None:
        """Planned comparisons: those with `compare_with`; None if all pairs are compared."""
        methods = ["__".join(pair) for pair in group_runs(self.comparable)]
        reference = self.config.compare_with
        return [(reference, method) for method in methods if method != reference] if reference in methods else None

    @cached_property
    def answers(self) -> list[Answer]:
        """Answers to the planned questions of the study."""
        margin = self.config.equivalence_margin
        return answer_questions(self.config.questions, self.comparable, self.comparable_scores, self.groups, margin)

    @cached_property
    def several(self) -> bool:
        """Whether there are two pairs to compare."""
        return any(len(comparison.order) > 1 for comparison in self.comparisons.values())

    @cached_property
    def rank_tests(self) -> dict[str, RankTest]:
        """Region -> mean ranks of the pairs, with Friedman's and Nemenyi's tests."""
        return {
            region: friedman_nemenyi(self.comparable_scores, region, groups=self.groups) for region in self.comparisons
        }

    @cached_property
    def rank_stability(self) -> RankStability | None:
        """Bootstrap of the ranks on the test images; None where nothing can be ranked, or with too few images."""
        regions = list(self.comparisons)
        return resample_ranks(self.comparable_scores, regions, groups=self.groups) if regions else None

    @cached_property
    def grouped(self) -> bool:
        """Whether several test images are of one group."""
        return any(comparison.units != comparison.cases for comparison in self.comparisons.values())

    @cached_property
    def same_machine(self) -> bool:
        """Whether all runs used one kind of processor and one precision, so that their times can be compared."""
        machines = {
            (run.record.get("device"), run.record.get("arithmetic") or run.config.precision) for run in self.complete
        }
        return len(machines) < 2

    @cached_property
    def reliability(self) -> dict[str, dict[str, Reliability]]:
        """Method -> curve ("all" or a region) -> reliability over the test pixels; methods without any left out."""
        curves = {
            "__".join(pair): read_reliability(run.folder.calibration for run in runs if run.complete)
            for pair, runs in self.pairs.items()
        }
        return {method: by_region for method, by_region in curves.items() if by_region}

    @cached_property
    def boundaries(self) -> pd.DataFrame:
        """Distances between boundaries of the comparable runs, see `load_boundaries`."""
        return load_boundaries(self)

    @cached_property
    def pixel_size_um(self) -> float | None:
        """Side of a scored pixel in micrometres; None where it is unknown or the images were resized."""
        sizes = {(run.record.get("trained_on") or {}).get("pixel_size_um") for run in self.complete}
        return sizes.pop() if len(sizes) == 1 and self.score_px is None else None

    @cached_property
    def certainty(self) -> Certainty:
        """How certain the choice of the best pair is, in sentences."""
        return describe_certainty(self)

    @cached_property
    def transfer(self) -> Transfer:
        """Scores on other datasets."""
        return load_transfer(self)

    # Tables as tidy frames, one per file in tables/.

    @cached_property
    def table1(self) -> pd.DataFrame:
        """Table 1: every encoder with every loss."""
        return make_table1(self)

    @cached_property
    def table2(self) -> pd.DataFrame:
        """Table 2: five metrics of the best encoder."""
        return make_table2(self)

    @cached_property
    def table3(self) -> pd.DataFrame:
        """Table 3: earlier methods."""
        return make_table3(self)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Table 4: every pair compared with the leading one."""
        return make_ranks(self)

    @cached_property
    def cell_types(self) -> pd.DataFrame:
        """Table 5: scores by cell type, of all pairs."""
        return make_cell_types(self.comparable_scores, self.groups)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Table 6: cost of each encoder."""
        return make_costs(self.pairs)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Table 7: calibration errors."""
        return make_calibration(self.reliability)

    @cached_property
    def flips(self) -> pd.DataFrame:
        """Table 9: effect of test-time flips."""
        return make_flips(self)

    @cached_property
    def boundary(self) -> pd.DataFrame:
        """Table 10: distances between boundaries."""
        return make_boundary(self)

    @cached_property
    def areas(self) -> pd.DataFrame:
        """Table 11: bias and limits of agreement of areas, of all pairs."""
        return make_areas(self.comparable_scores, self.groups)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Name -> tidy frame and layout of every table, in the order of the page."""
        return make_tables(self)

    @cached_property
    def table_html(self) -> dict[str, str]:
        """Name -> HTML fragment of every table, for its page and for the report."""
        return {name: format_html(layout) for name, (_, layout) in self.tables.items()}
