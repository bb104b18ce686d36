"""Keep a finished study in outputs/reference/, where git tracks its small files, or restore one into outputs/.

    python scripts/reference.py restore segmentation_wbc_2
    wbcstudy report outputs/segmentation_wbc_2/segmentation_wbc_2.yaml
    python scripts/reference.py keep segmentation_wbc_2

Kept are the tables as CSV, split.json, duplicates.json, dataset.json, and the run.json and CSV files of every run. The
CSV files of all runs are joined: `runs/all/history.csv` holds the rows of every history.csv, each with the name of its
run in front.
Networks, predicted masks, notebooks and pages are not kept; of earlier methods, only run.json and search.csv are.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import make_recorded_config, write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.files import project_root, read_json
from wbcstudy.runs.folders import RunFolder, StudyFolder

# Folder of the joined files in runs/.
_JOINED = "all"


def reference_folder() -> Path:
    """Return the folder of all kept studies, outputs/reference/ in the checkout."""
    return project_root() / "outputs" / "reference"


def keep_study(study: StudyFolder, kept: Path) -> list[Path]:
    """Copy the small files of a finished study. A study that was kept before is replaced.

    A figure is copied only if `kept` already has one of this name: figures may show images that belong to others.

    Args:
        study: the study.
        kept: its folder in outputs/reference/.

    Returns:
        The files written.

    Raises:
        StudyError: the study has no tables, or a run that was kept before is missing.
    """
    if not study.tables.is_dir():
        raise StudyError(
            f"{study.path} has no tables.",
            expected="a study with a report",
            fix=f"Run it: wbcstudy run params/{study.name}.yaml",
        )
    runs = [path.parent for path in sorted(study.path.glob("*/*/run.json"))]
    names = {run.relative_to(study.path) for run in runs}
    if lost := sorted({path.parent.relative_to(kept) for path in kept.glob("*/*/run.json")} - names):
        raise StudyError(
            f"{len(lost)} kept results of {study.name} are not in {study.path}: {', '.join(map(str, lost[:3]))} ...",
            expected="every run that was kept before, since a kept study is replaced as a whole",
            fix=f"Restore them (`python scripts/reference.py restore {study.name}`), run the earlier methods again, or "
            f"delete {kept}.",
        )
    figures = [study.figures / path.name for path in kept.glob("figures/*")]
    shutil.rmtree(kept, ignore_errors=True)
    for path in (
        *study.tables.glob("*.csv"),
        *figures,
        study.split,
        study.duplicates,
        study.dataset,
        study.other_datasets,
    ):
        if path.exists():
            _write(kept / path.relative_to(study.path), path.read_bytes())
    for run in runs:
        for path in (*run.glob("run.json"), *run.glob("transfer/*/run.json"), *run.glob("search.csv")):
            # Methods without parameters to choose have an empty search.csv.
            if path.read_bytes().strip():
                _write(kept / path.relative_to(study.path), path.read_bytes())
    trained = [run for run in runs if run.parent == study.runs]
    for file in {path.relative_to(run) for run in trained for path in run.rglob("[!.]*.csv")}:
        _join([run for run in trained if (run / file).exists()], file, kept / "runs")
    return sorted(path for path in kept.rglob("*") if path.is_file())


def restore_study(study: StudyFolder, kept: Path) -> list[str]:
    """Restore the kept runs of a study and its settings, so that `wbcstudy run` takes the runs for finished.

    The settings are those of params/<study>.yaml, in <study>.yaml in the study's folder. Settings that the kept runs do
    not have were added in a later version, and get the values of then. Existing runs and files are not changed. Earlier
    methods are not restored: their scores are not kept.

    Args:
        study: the study, which may be absent.
        kept: its folder in outputs/reference/.

    Returns:
        Names of the restored runs.

    Raises:
        StudyError: no such study is kept.
    """
    if not (kept / "runs").is_dir():
        names = sorted(path.parent.name for path in reference_folder().glob("*/runs"))
        raise StudyError(
            f"{kept} holds no study.", expected=f"one of {', '.join(names) or '(none is kept)'}", fix="Check the name."
        )
    names = [path.parent.name for path in sorted(kept.glob("runs/*/run.json"))]
    names = [name for name in names if not study.run(name).record.exists()]
    joined = kept / "runs" / _JOINED
    for path in joined.rglob("*.csv"):
        for name, content in _split(path).items():
            if name in names:
                _write(study.run(name).path / path.relative_to(joined), content)
    for name in names:
        # With run.json the run counts as finished.
        shutil.copytree(kept / "runs" / name, study.run(name).path, dirs_exist_ok=True)
        _write_params(study.run(name))
    for path in (study.split, study.duplicates, study.dataset, study.other_datasets):
        if (kept / path.name).exists() and not path.exists():
            _write(path, (kept / path.name).read_bytes())
    _restore_settings(study, kept)
    return names


def settings_file(study: StudyFolder) -> Path:
    """Return the path of a restored study's settings."""
    return study.path / f"{study.name}.yaml"


def _restore_settings(study: StudyFolder, kept: Path) -> None:
    shipped, restored = project_root() / "params" / f"{study.name}.yaml", settings_file(study)
    if restored.exists() or not shipped.exists():
        return
    config = _read_config(next(kept.glob("runs/*/run.json")))
    recorded = make_recorded_config(RunConfig, config, source=str(kept)).model_dump(mode="json")
    # `start` is of runs only; earlier runs have none.
    later = {name: recorded[name] for name in StudyConfig.model_fields if name in recorded and name not in config}
    lines = shipped.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line for line in lines if line.partition(":")[0] not in later]
    # JSON is YAML.
    lines += [f"{name}: {json.dumps(value)}\n" for name, value in later.items()]
    _write(restored, "".join(lines).encode())


def _read_config(record: Path) -> dict:
    return (read_json(record) or {}).get("config", {})


def _write_params(folder: RunFolder) -> None:
    config = _read_config(folder.record)
    write_yaml(make_recorded_config(RunConfig, config, source=str(folder.record)), folder.params)


def _join(runs: list[Path], file: Path, kept: Path) -> None:
    """Join one CSV file of several runs; a file with other columns than the first is copied."""
    joined: list[bytes] = []
    for run in runs:
        content = (run / file).read_bytes()
        header, *rows = content.splitlines(keepends=True) or [b""]
        prefix = f"{run.name},".encode()
        if _names_its_run(file):
            regular = all(row.startswith(prefix) for row in rows)
        else:
            regular, header, rows = True, b"run," + header, [prefix + row for row in rows]
        joined = joined or [header]
        if rows and regular and header == joined[0] and content.endswith(b"\n"):
            joined += rows
        else:
            _write(kept / run.name / file, content)
    if len(joined) > 1:
        _write(kept / _JOINED / file, b"".join(joined))


def _split(path: Path) -> dict[str, bytes]:
    """Return run name -> content of its file, from a joined file."""
    header, *rows = path.read_bytes().splitlines(keepends=True)
    contents: dict[str, bytes] = {}
    for row in rows:
        name = row.partition(b",")[0].decode()
        start = 0 if _names_its_run(path) else len(name) + 1
        contents[name] = contents.get(name, header if start == 0 else header.removeprefix(b"run,")) + row[start:]
    return contents


def _names_its_run(path: Path) -> bool:
    """Return whether the first column of a CSV file is the run's name."""
    return path.name.startswith("scores")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main(arguments: list[str]) -> None:
    """Keep or restore one study.

    Args:
        arguments: "keep" or "restore", and the study's name.
    """
    if len(arguments) != 2 or arguments[0] not in ("keep", "restore"):
        sys.exit(__doc__)
    study, kept = StudyFolder.of(arguments[1]), reference_folder() / arguments[1]
    try:
        if arguments[0] == "keep":
            files = keep_study(study, kept)
            print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
        else:
            names = restore_study(study, kept)
            print(f"{len(names)} runs restored to {study.path}" if names else "Nothing to restore: all runs exist.")
            print(f"Report: wbcstudy report {settings_file(study)}")
    except StudyError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
