"""Copy the small files of a finished study to outputs/reference/, where git keeps them.

    python scripts/keep_reference.py segmentation_wbc_2
    python scripts/keep_reference.py --restore segmentation_wbc_2

Tables, run.json, history.csv and scores.csv of every training, run.json of every earlier method, curves and statistics
figures. Pictures that show images of the dataset are copied only for synthetic data: other images belong to their
owners.

`--restore` puts kept trainings back where `wbcstudy run` takes them for finished, in a fresh copy of the repository: a
grid of days can be trained in several sittings, on several machines. Networks and predicted masks are not kept, so
Figure 2 and the majority's row need the runs that were trained in this copy. Earlier methods are not put back, since of
them only their rows of Table 3 are kept.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import project_root, read_json
from wbcstudy.runs.folders import StudyFolder

# Figures in which the images themselves can be seen, and what the names of those from other datasets begin with: of
# all that were ever scored on, since an earlier report may have left some behind.
PICTURES, OTHERS = ("figure1", "figure2", "figure3", "worst"), "transfer_"
RUN_FILES = ("params.yaml", "run.json", "history.csv", "search.csv", "calibration.csv")


def keep(study: StudyFolder, target: Path) -> list[Path]:
    """Copy what is small and free of others' images; returns the copies. What was there before is replaced."""
    if not study.tables.is_dir():
        raise StudyError(
            f"{study.path} has no tables.",
            expected="a study whose report was built",
            fix=f"wbcstudy run params/{study.name}.yaml",
        )
    others = (read_json(study.others) or {}).get("datasets", [])
    ours = json.loads(study.dataset.read_text(encoding="utf-8"))["name"].startswith("synthetic")
    ours = ours and all(other["name"].startswith("synthetic") for other in others)
    names = {other["name"] for other in others}
    found = [*study.tables.glob("*"), study.split, study.dataset]
    for path in study.figures.glob("*"):
        foreign = path.stem.startswith(OTHERS) and path.stem.removeprefix(OTHERS) not in names
        if not foreign and (ours or (path.stem not in PICTURES and not path.stem.startswith(OTHERS))):
            found.append(path)
    found += [path for path in (study.others,) if path.exists()]
    for folder in (study.runs, study.baselines):
        for run in folder.glob("*"):
            if (run / "run.json").exists():
                found += [path for name in RUN_FILES if (path := run / name).exists()]
                # Of the earlier methods, whose scores are of five seeds in three variants each, Table 3 says enough.
                found += run.glob("scores*.csv") if folder == study.runs else ()
                found += run.glob("transfer/*/run.json")
                found += run.glob("transfer/*/scores.csv")
    before = {path.parent.relative_to(target) for path in target.glob("*/*/run.json")}
    if lost := sorted(map(str, before - {path.parent.relative_to(study.path) for path in found})):
        raise StudyError(
            f"{len(lost)} kept results of {study.name} are not in {study.path}: {', '.join(lost[:3])} ...",
            expected="all that was kept before, or more; what is kept is replaced as a whole",
            fix=f"Restore trainings with --restore and run earlier methods again, or delete {target} to keep less.",
        )
    if target.exists():
        shutil.rmtree(target)
    copies = []
    for path in sorted(found):
        copy = target / path.relative_to(study.path)
        # An SVG of hundreds of points is larger than the picture it makes.
        if copy.suffix != ".svg":
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copies.append(copy)
    return copies


def restore(study: StudyFolder, kept: Path) -> list[str]:
    """Put kept runs back; returns the names of those that were not there. What is there is left as it is."""
    if not kept.is_dir():
        raise StudyError(
            f"Nothing of {study.name} is kept in {kept.parent}.",
            expected=", ".join(sorted(path.parent.name for path in kept.parent.glob("*/runs"))) or "a kept study",
            fix="Name one of these.",
        )
    back = []
    for run in sorted(kept.glob("runs/*")):
        target = study.runs / run.name
        if not (target / "run.json").exists():
            shutil.copytree(run, target, dirs_exist_ok=True)
            back.append(run.name)
    for path in (study.split, study.dataset, study.others):
        if (kept / path.name).exists() and not path.exists():
            shutil.copyfile(kept / path.name, path)
    return back


def main() -> None:
    """Read the study's name and copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a finished study, a folder of outputs/")
    parser.add_argument("--restore", action="store_true", help="the other way: put kept runs back into outputs/")
    asked = parser.parse_args()
    study = StudyFolder.of(asked.study)
    kept = project_root() / "outputs" / "reference" / study.name
    try:
        if asked.restore:
            back = restore(study, kept)
            print(f"{len(back)} runs put back into {study.path}: {', '.join(back) or 'all were there'}")
            return
        copies = keep(study, kept)
    except StudyError as error:
        sys.exit(str(error))
    print(f"{len(copies)} files, {sum(path.stat().st_size for path in copies) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
