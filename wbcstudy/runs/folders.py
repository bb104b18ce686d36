"""The paths of a study and of a run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import outputs_folder
from wbcstudy.runs.damage import find_damage
from wbcstudy.runs.records import RunRecord, read_run_record


@dataclass(frozen=True)
class StudyFolder:
    """The files and folders in `outputs/<study>/`."""

    path: Path

    @classmethod
    def of(cls, name: str) -> StudyFolder:
        """Return the folder of a study in `outputs_folder()`, by the study's name."""
        return cls(outputs_folder() / name)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def split(self) -> Path:
        """The cases in the training, validation and test set of each fold; the same for all runs."""
        return self.path / "split.json"

    @property
    def settings(self) -> Path:
        """The study's settings with resolved paths."""
        return self.path / f"{self.name}.yaml"

    @property
    def duplicates(self) -> Path:
        """The cases that show the same cell, found when the split was made."""
        return self.path / "duplicates.json"

    @property
    def dataset(self) -> Path:
        """Counts, sizes and label shares of the images, for the report."""
        return self.path / "dataset.json"

    @property
    def groups(self) -> Path:
        """Case id -> group, for a report after the images are gone; absent if the cases have no groups."""
        return self.path / "groups.json"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """Folder of the programs' output."""
        return self.path / "logs"

    @property
    def stopped(self) -> Path:
        """Empty file, touched by `wbcstudy stop`."""
        return self.logs / "stopped"

    @property
    def programs(self) -> Path:
        """Folder for the files of Jupyter and other programs, instead of the user's home folder."""
        return self.path / ".programs"

    @property
    def tables(self) -> Path:
        """Folder of the tables, each as .csv, .html and .tex."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report, one self-contained page."""
        return self.path / "report" / "index.html"

    @property
    def answer(self) -> Path:
        """The sentences of the report's answer, for the last lines of `wbcstudy run`; absent in earlier studies."""
        return self.path / "report" / "answer.json"

    @property
    def report_done(self) -> Path:
        """Empty file, touched when the report is complete.

        Snakemake deletes the output of a rule before running it; a failed report must not delete the previous one.
        """
        return self.logs / "summary.done"

    @property
    def report_contents(self) -> Path:
        """The runs in the report: name -> status, from `plan.report_contents`."""
        return self.logs / "reported.json"

    @property
    def baselines(self) -> Path:
        """Folder of the earlier methods, one folder each per fold."""
        return self.path / "baselines"

    @property
    def other_datasets(self) -> Path:
        """Counts and label shares of the datasets used for evaluation only; absent if there are none."""
        return self.path / "other_datasets.json"

    @property
    def network_starts(self) -> Path:
        """The networks that trainings start from (`start_from`); absent if there are none."""
        return self.path / "network_starts.json"

    def run(self, name: str) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.runs / name)

    def baseline(self, name: str) -> RunFolder:
        """Return the folder of one earlier method on one fold."""
        return RunFolder(self.baselines / name, step="baseline")


@dataclass(frozen=True)
class RunFolder:
    """The files in `outputs/<study>/runs/<run>/`.

    The folder of an earlier method holds the same files, except those of a network.

    Args:
        path: the folder.
        step: stem of the executed notebook: "train", "baseline" or "transfer".
    """

    path: Path
    step: str = "train"

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
        """The parameters that papermill passed to the notebook."""
        return self.path / "params.yaml"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.path / f"{self.step}.ipynb"

    @property
    def page(self) -> Path:
        """The executed notebook as an HTML page."""
        return self.path / f"{self.step}.html"

    @property
    def history(self) -> Path:
        """One row per epoch (from 1): losses, validation Dice, seconds, learning rate."""
        return self.path / "history.csv"

    @property
    def scores(self) -> Path:
        """One row per test case and region: `SCORE_COLUMNS` and the metrics."""
        return self.path / "scores.csv"

    def scores_of(self, variant: str) -> Path:
        """Return the file with the scores of one variant of the predictions.

        Args:
            variant: "raw" (scores.csv); "cleaned" or "central", after a clean-up; "single", without the flips of
                `test_time_flips`; or "validation", of the validation cases (absent in earlier runs).
        """
        return self.scores if variant == "raw" else self.path / f"scores_{variant}.csv"

    @property
    def record(self) -> Path:
        """run.json: settings, status, costs and versions of the run."""
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
    def boundary(self) -> Path:
        """Distances between predicted and expert's boundaries, per test case and region; absent in earlier runs."""
        return self.path / "boundary.csv"

    @property
    def calibration(self) -> Path:
        """Sums over the test pixels per region and confidence bin; absent in earlier runs."""
        return self.path / "calibration.csv"

    @property
    def figures(self) -> Path:
        """Folder of the run's own figures."""
        return self.path / "figures"

    def transfer(self, dataset: str) -> RunFolder:
        """Return the folder of the network's scores, masks and record on another dataset, by its name."""
        return RunFolder(self.path / "transfer" / dataset, step="transfer")

    @property
    def checkpoint(self) -> Path:
        """Folder of the state after the last saved epoch; deleted when the run is complete."""
        return self.path / "checkpoint"

    def read_record(self) -> RunRecord | None:
        """Read run.json; None where it is absent, cannot be used, or describes other files, see `find_problem`."""
        return self.check()[0]

    def find_problem(self, used: Collection[str] | None = None) -> StudyError | None:
        """Return why the results of this run cannot be used; None where there is no problem, see `check`."""
        return self.check(used)[1]

    def check(self, used: Collection[str] | None = None) -> tuple[RunRecord | None, StudyError | None]:
        """Read run.json and check the files that it describes.

        Args:
            used: see `find_damage`.

        Returns:
            The record, None where it is absent or the run cannot be used; and why it cannot be used: a
            `DamagedFileError` for damaged files, another error for files that cannot be read or are of a newer version.
        """
        try:
            record = read_run_record(self.record)
        except StudyError as error:
            return None, error
        damage = None if record is None else find_damage(self.path, record, used)
        return (None, damage) if damage else (record, None)

    def has_started(self) -> bool:
        """Whether there are files of a training that can be continued."""
        return self.history.exists() or self.checkpoint.exists()

    def read_status(self, used: Collection[str] | None = None) -> str:
        """Read the status from the files.

        Returns:
            "complete", "failed", "damaged", "unreadable" (no permission, or of a newer version), "unfinished" (started)
            or "waiting".
        """
        record, problem = self.check(used)
        if problem:
            return problem_status(problem)
        if record:
            return record["status"]
        return "unfinished" if self.has_started() else "waiting"


def problem_status(problem: StudyError) -> str:
    """Return the status of a run that cannot be used: "damaged", or "unreadable" for another reason."""
    return "damaged" if isinstance(problem, DamagedFileError) else "unreadable"
