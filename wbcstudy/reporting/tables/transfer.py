"""Tables 8 and 9: scores on other datasets, and the effect of test-time flips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout, interval_notes, interval_text, number_text
from wbcstudy.reporting.tables.ranks import p_text
from wbcstudy.runs.results import read_score_file
from wbcstudy.scoring.comparison import TRANSFER_COLUMNS, compare_transfer
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.other_datasets import OtherDataset, read_other_datasets
from wbcstudy.wording import capitalise, count, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_COLUMNS = ("dataset", *TRANSFER_COLUMNS)
_FLIP_COLUMNS = ("region", "method", "n", "single", "flips", "difference", "ci_low", "ci_high", "p")


@dataclass(frozen=True)
class Transfer:
    """A study's networks on other datasets.

    Args:
        datasets: the other datasets, in the study's order.
        table: dataset (name), then `TRANSFER_COLUMNS`; without images that are also in the study's dataset.
        pairs: dataset -> region -> rows of `paired_differences` of the methods on that dataset.
        failed: (run, dataset, error) of failed scorings.
        missing: (run, dataset) of finished runs that are not scored there yet.
    """

    datasets: tuple[OtherDataset, ...] = ()
    table: pd.DataFrame = field(repr=False, default_factory=lambda: pd.DataFrame(columns=list(_COLUMNS)))
    pairs: Mapping[str, Mapping[str, pd.DataFrame]] = field(repr=False, default_factory=dict)
    failed: tuple[tuple[str, str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()

    def title(self, dataset: OtherDataset) -> str:
        """Return the title of a dataset, or its name where two have the same title."""
        shared = [other.title for other in self.datasets].count(dataset.title) > 1
        return dataset.name if shared else dataset.title

    def rows(self, dataset: OtherDataset, method: str | None = None) -> pd.DataFrame:
        """Return the rows of a dataset, and of one method if given."""
        rows = self.table[self.table["dataset"] == dataset.name]
        return rows if method is None else rows[rows["method"] == method]

    def scored(self, method: str | None = None) -> list[OtherDataset]:
        """Return the datasets with scores of any method, or of a given one."""
        return [dataset for dataset in self.datasets if len(self.rows(dataset, method))]


def load_transfer(results: StudyResults) -> Transfer:
    """Load the scores of a study's networks on other datasets."""
    datasets = read_other_datasets(results.study)
    # A mean over some of the folds only would be over other networks than the rest's.
    comparable = {run.name for run in results.comparable}
    tables, pairs, failed, missing = [], {}, [], []
    for dataset in datasets:
        frames = []
        for run in results.complete:
            folder = run.folder.transfer(dataset.name)
            record, problem = folder.check(used=(folder.predictions.name,))
            if problem:
                failed.append((run.name, dataset.name, problem.message))
            elif record is None:
                missing.append((run.name, dataset.name))
            elif record.get("status") != "complete":
                failed.append((run.name, dataset.name, str(record.get("error", "no reason recorded"))))
            elif run.name in comparable:
                frames.append(read_score_file(folder.scores))
        if frames:
            scores = pd.concat(frames, ignore_index=True)
            scores = scores[~scores["case_id"].isin(dataset.shared)]
            own = results.comparable_scores
            table = compare_transfer(own, scores, groups=results.groups, other_groups=dataset.groups)
            tables.append(table.assign(dataset=dataset.name))
            compared = paired_differences(scores, TABLE_REGIONS, groups=dataset.groups)
            pairs[dataset.name] = {region: compared[compared["region"] == region] for region in TABLE_REGIONS}
    table = (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()).reindex(columns=list(_COLUMNS))
    return Transfer(datasets, table, pairs, tuple(failed), tuple(missing))


def layout_transfer(transfer: Transfer, best: str | None, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 8: the own test images next to each other dataset, and the drop.

    Args:
        transfer: scores on other datasets.
        best: the chosen method, in bold.
        notes: sentences to add below the table.
    """
    heads, rows, scored = [("", "Encoder and loss")], [], transfer.scored()
    heads.append(("Own test images", "Mean Dice [95 % interval]"))
    for dataset in scored:
        spanner = f"{transfer.title(dataset)}, {dataset.cases - len(dataset.shared)} images"
        heads += [(spanner, "Mean Dice [95 % interval]"), (spanner, "Drop [95 % interval]")]
    for (region, method), part in transfer.table.groupby(["region", "method"], sort=False):
        by_dataset, first = part.set_index("dataset"), part.iloc[0]
        cells = [Cell(method_title(method), best=method == best)]
        cells.append(Cell(interval_text(first["own_mean"], first["own_ci_low"], first["own_ci_high"], 3)))
        for dataset in scored:
            if dataset.name in by_dataset.index:
                row = by_dataset.loc[dataset.name]
                cells.append(Cell(interval_text(row["dice_mean"], row["ci_low"], row["ci_high"], 3)))
                cells.append(Cell(interval_text(row["drop"], row["drop_ci_low"], row["drop_ci_high"], 3)))
            else:
                cells += [Cell(NOTHING), Cell(NOTHING)]
        rows.append((region.capitalize(), cells))
    networks = transfer.table["networks"]
    number = number_range(networks.min(), networks.max()) if len(networks) else "0"
    remarks = [
        "Bold: chosen on the validation images of the study's dataset.",
        "Drop: mean Dice on the own test images minus mean Dice on the other dataset. It may be due to the "
        "magnification (all images are resized to one size), the stain, the camera, the types of cells or the expert.",
        "Each network of a row (all folds and seeds) is scored on every image of the other dataset, and the scores of "
        f"an image are averaged; networks per row: {number}. No network was trained on these images.",
        "Here each image is squeezed to a square of image_size. `wbcstudy segment` keeps the scale of the training "
        "images and cuts large images into tiles, so that its masks of the same images, and their scores, can differ.",
        *interval_notes(transfer.table, "drop", "drop_ci_low"),
    ]
    return Layout(8, "Scores on other datasets", heads, rows, notes=[*remarks, *notes])


def make_flips(results: StudyResults) -> pd.DataFrame:
    """Compare predictions averaged over flips and rotations with single predictions, on the same test images.

    Returns:
        One row per region and method: n test images (or groups of them), mean Dice of single predictions and of the
        mean of eight, the difference (with flips minus single) with its interval and p, not adjusted for the
        number of rows. No rows for runs without `test_time_flips`.
    """
    rows = []
    for pair_key, group in results.pairs.items():
        runs = [run for run in group if run.complete and run.folder.scores_of("single").exists()]
        if not runs:
            continue
        frames = {
            "flips": results.scores_of(runs),
            "single": pd.concat([read_score_file(run.folder.scores_of("single")) for run in runs], ignore_index=True),
        }
        # Named as two methods, so that folds and seeds are combined as everywhere else.
        renamed = [
            frame.assign(run=frame["run"].str.replace(r"^.+?__(?=fold\d)", f"{name}__", regex=True))
            for name, frame in frames.items()
        ]
        both = pd.concat(renamed, ignore_index=True)
        for region in TABLE_REGIONS:
            for pair in paired_differences(both, region, groups=results.groups, same_trainings=True).itertuples():
                means = both[both["region"] == region].groupby(both["run"].str.partition("__")[0])["dice"].mean()
                row = (region, "__".join(pair_key), pair.n, means["single"], means["flips"])
                rows.append((*row, pair.difference, pair.ci_low, pair.ci_high, pair.p))
    rows.sort(key=lambda row: TABLE_REGIONS.index(row[0]))
    return pd.DataFrame(rows, columns=list(_FLIP_COLUMNS))


def layout_flips(table: pd.DataFrame, unit: str = "image", notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 9: single predictions next to the mean of eight.

    Args:
        table: result of `make_flips`.
        unit: noun for what its n counts.
        notes: sentences to add below the table.
    """
    heads = [("", "Encoder and loss"), ("Mean Dice", "One prediction"), ("Mean Dice", "Mean of eight")]
    heads += [("", "Gain [95 % interval]"), ("", "p")]
    rows = []
    for row in table.itertuples():
        gain = interval_text(row.difference, row.ci_low, row.ci_high, interval_digits=4)
        texts = [method_title(row.method), number_text(row.single), number_text(row.flips), gain, p_text(row.p)]
        rows.append((f"{capitalise(row.region)}, {count(row.n, unit)}", [Cell(text) for text in texts]))
    remarks = [
        "Mean of eight: the image is predicted in eight orientations (four rotations, each also mirrored), and the "
        "probabilities are averaged. The other tables use these predictions.",
        "Gain: difference of the means on the same images. Intervals and p values are not adjusted for the number of "
        "rows.",
    ]
    return Layout(9, "Effect of test-time flips", heads, rows, notes=[*remarks, *notes])
