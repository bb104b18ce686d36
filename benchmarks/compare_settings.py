"""Compare studies that differ in one setting, on the same images.

    python benchmarks/compare_settings.py transfer_2to1 transfer_2to1_reinhard transfer_2to1_colour

The first study is the baseline. Runs with the same name (encoder, loss, fold, seed) are compared on their own test
images and on every other dataset on which both were scored (`also_score`). Writes settings.csv and settings.md to
outputs/reference/<first study>/. Run `scripts/reference.py keep` before, since it clears this folder.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import Duplicate, known_duplicates, merge_groups, read_duplicates
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.registry import method_title
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs, read_score_file
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.other_datasets import read_other_datasets

OWN = "own test images"
REGIONS = ("nucleus", "cytoplasm")


def compare(first: StudyFolder, second: StudyFolder) -> pd.DataFrame:
    """Return one row per encoder with loss, set of images and region.

    Returns:
        study, method, images, region, networks (of each study), n (images; those of one group or cell count as one),
        first and second (mean Dice), difference (of the means: second minus first), ci_low, ci_high, p (t test, not
        adjusted).
    """
    studies = [{run.name: run for run in load_runs(study) if run.complete} for study in (first, second)]
    shared = sorted(set(studies[0]) & set(studies[1]))
    if not shared:
        raise StudyError(
            f"{first.name} and {second.name} have no finished run in common.",
            expected="runs of the same encoder, loss, fold and seed in both",
            fix="Run both studies first, with common encoders, losses, folds and seeds.",
        )
    pairs = [(studies[0][name], studies[1][name]) for name in shared]
    for a, b in pairs:
        if a.record.get("split_hash") != b.record.get("split_hash"):
            raise StudyError(
                f"{first.name} and {second.name} have different splits.",
                expected="the same split",
                fix="Use the same dataset, folds, fractions and split_seed in both.",
            )
    others = read_other_datasets(first)
    rows = []
    for method in dict.fromkeys(f"{a.config.encoder}__{a.config.loss}" for a, _ in pairs):
        of_method = [pair for pair in pairs if pair[0].name.startswith(f"{method}__")]
        own = load_dataset(of_method[0][0].config.dataset)
        groups = _join_duplicates(own.groups, read_duplicates(first.duplicates, own.name))
        rows += _rows(method, OWN, of_method, second.name, groups, set(), None)
        for other in others:
            both = [
                p for p in of_method if all(run.folder.transfer(other.name).read_status() == "complete" for run in p)
            ]
            if both:
                groups = _join_duplicates(other.groups, known_duplicates(other.name))
                rows += _rows(method, other.title, both, second.name, groups, set(other.shared), other.name)
    return pd.DataFrame(rows)


def _join_duplicates(groups: Groups, duplicates: Iterable[Duplicate]) -> Groups:
    return merge_groups(groups, [duplicate.case_ids for duplicate in duplicates])


def _rows(method: str, images: str, pairs: list[tuple[Run, Run]], study: str, groups, left_out, dataset) -> list[dict]:
    frames = []
    for position, label in enumerate(("first", "second")):
        for pair in pairs:
            run = pair[position]
            scores = read_score_file(run.folder.transfer(dataset).scores) if dataset else run.scores
            frames.append(scores.assign(run=f"{label}__fold{run.config.fold}__seed{run.config.seed}"))
    both = pd.concat(frames, ignore_index=True)
    both = both[~both["case_id"].isin(left_out)]
    rows = []
    for region in REGIONS:
        means = both[both["region"] == region].groupby(both["run"].str.partition("__")[0])["dice"].mean()
        (result,) = paired_differences(both, region, groups=groups).to_dict("records")
        rows.append(
            {"study": study, "method": method, "images": images, "region": region, "networks": len(pairs)}
            | {"n": result["n"], "first": means["first"], "second": means["second"]}
            | {"difference": -result["difference"], "ci_low": -result["ci_high"], "ci_high": -result["ci_low"]}
            | {"p": result["p"]}
        )
    return rows


def as_markdown(table: pd.DataFrame, first: str) -> str:
    """Return the table as Markdown."""
    lines = [f"Compared with `{first}`: same images, split and seeds. Mean Dice over the images.", ""]
    heads = ["study", "network", "images", "region", "networks", "n", "Dice, baseline", "Dice, study"]
    heads += ["gain [95 % interval]", "p"]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in table.itertuples():
        p = "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
        gain = f"{row.difference:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
        lines.append(
            f"| `{row.study}` | {method_title(row.method)} | {row.images} | {row.region} | {row.networks} | {row.n} "
            f"| {row.first:.3f} | {row.second:.3f} | {gain} | {p} |"
        )
    lines += [
        "",
        "With one seed, intervals and p values do not include the variation between trainings.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare the studies and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="name of the baseline study")
    parser.add_argument("others", nargs="+", help="names of the studies to compare with it")
    args = parser.parse_args()
    first = StudyFolder.of(args.first)
    try:
        parts = [compare(first, StudyFolder.of(name)) for name in args.others]
        table = pd.concat(parts, ignore_index=True)
        folder = project_root() / "outputs" / "reference" / first.name
        _write(folder / "settings.csv", table.to_csv(index=False, float_format="%.6g"))
        _write(folder / "settings.md", as_markdown(table, first.name))
    except StudyError as error:
        sys.exit(str(error))
    print(as_markdown(table, first.name))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
