"""Every path of a study and of a run, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbcstudy.files import outputs_folder, read_json

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class StudyFolder:
    """`outputs/<study>/`: every path below it, by name."""

    path: Path

    @classmethod
    def of(cls, name: str) -> StudyFolder:
        """A study by its name, in `outputs_folder()`."""
        return cls(outputs_folder() / name)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def split(self) -> Path:
        """The cases of each fold's training, validation and test part; one for all runs."""
        return self.path / "split.json"

    @property
    def dataset(self) -> Path:
        """Facts about the images: counts, sizes and label shares, for the report."""
        return self.path / "dataset.json"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """Folder of what the programs printed."""
        return self.path / "logs"

    @property
    def tables(self) -> Path:
        """Folder of table1, table2 and table3, each .csv, .html and .tex."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures, each .png and .svg."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.path / "report" / "index.html"

    @property
    def reported(self) -> Path:
        """Touched when the report is whole.

        Snakemake deletes what a rule is to make, and a report that fails must not take the one before it away.
        """
        return self.logs / "summary.done"

    @property
    def contents(self) -> Path:
        """What the report is of: name -> status, as `plan.report_contents` has it."""
        return self.logs / "reported.json"

    @property
    def baselines(self) -> Path:
        """Folder of the earlier methods' folders."""
        return self.path / "baselines"

    @property
    def others(self) -> Path:
        """Facts about the other datasets that the networks are scored on; absent where there are none."""
        return self.path / "other_datasets.json"

    def run(self, name: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.runs / name)

    def baseline(self, name: str) -> RunFolder:
        """The folder of one earlier method on one fold."""
        return RunFolder(self.baselines / name, act="baseline")


@dataclass(frozen=True)
class RunFolder:
    """`outputs/<study>/runs/<run>/`: every file in it, by name.

    Args:
        path: the folder.
        act: stem of the executed notebook: "train", or "baseline" in the folder of an earlier method, which holds the
            same files but those of a network.
    """

    path: Path
    act: str = "train"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def study(self) -> StudyFolder:
        """The study that this run or earlier method belongs to."""
        return StudyFolder(self.path.parents[1])

    @property
    def params(self) -> Path:
        """What papermill got."""
        return self.path / "params.yaml"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.path / f"{self.act}.ipynb"

    @property
    def page(self) -> Path:
        """The executed notebook as a page."""
        return self.path / f"{self.act}.html"

    @property
    def history(self) -> Path:
        """One row per epoch: epoch (from 1), loss, val_loss, and more."""
        return self.path / "history.csv"

    @property
    def scores(self) -> Path:
        """One row per test case and region; the columns are `SCORE_COLUMNS` and ratios."""
        return self.path / "scores.csv"

    def scores_of(self, variant: str) -> Path:
        """Scores of the prediction as it is ("raw", scores.csv) or changed.

        "cleaned" and "central": after a clean-up. "single": of runs with `test_time_flips`, without the flips.
        """
        return self.scores if variant == "raw" else self.path / f"scores_{variant}.csv"

    @property
    def record(self) -> Path:
        """run.json."""
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        """The trained model with the best epoch's weights."""
        return self.path / "model.keras"

    @property
    def predictions(self) -> Path:
        """Predicted masks of the test cases: a compressed NumPy file, read by `read_predictions`."""
        return self.path / "predictions.npz"

    @property
    def calibration(self) -> Path:
        """Sums per region and bin of confidence of the test pixels; absent for runs that kept none."""
        return self.path / "calibration.csv"

    @property
    def figures(self) -> Path:
        """Folder of the run's own figures."""
        return self.path / "figures"

    def transfer(self, dataset: str) -> RunFolder:
        """Folder of the network's scores, masks and record on another dataset, by its name."""
        return RunFolder(self.path / "transfer" / dataset, act="transfer")

    @property
    def checkpoint(self) -> Path:
        """Folder of the state after the last finished epoch; gone when the run is complete."""
        return self.path / "checkpoint"

    def read_record(self) -> dict[str, Any] | None:
        """run.json as a dict, or None where it is absent or was cut off."""
        return read_json(self.record)

    @property
    def begun(self) -> bool:
        """Whether a training has left anything to go on from."""
        return self.history.exists() or self.checkpoint.exists()

    @property
    def status(self) -> str:
        """'complete', 'failed', 'unfinished' (it has begun) or 'waiting'."""
        record = self.read_record()
        if record is not None and record.get("status") in ("complete", "failed"):
            return record["status"]
        return "unfinished" if self.begun else "waiting"
