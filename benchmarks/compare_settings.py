"""Compare studies that differ in a setting, on the same images: what does the setting change?

    python benchmarks/compare_settings.py transfer_2to1 transfer_2to1_reinhard transfer_2to1_colour

The first study is the yardstick. Runs of one name (encoder, loss, fold, seed) are compared, on their own test images
and on every other dataset that both were scored on (`also_score`). Writes settings.csv and settings.md to
outputs/reference/<first study>/, after `keep_reference.py`, which clears that folder.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from wbcstudy.data.datasets import load_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.registry import method_title
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs, read_score_file
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.other_datasets import read_other_datasets

OWN = "own test images"
REGIONS = ("nucleus", "cytoplasm")


def compare(first: StudyFolder, second: StudyFolder) -> pd.DataFrame:
    """One row per encoder with loss, set of images and region.

    Returns:
        study, method, images, region, networks (of each study), n (cases), first and second (mean Dice), difference
        (second minus first: Hodges and Lehmann's typical one of a case), ci_low, ci_high, p (Wilcoxon, each row by
        itself).
    """
    studies = [{run.name: run for run in load_runs(study) if run.complete} for study in (first, second)]
    shared = sorted(set(studies[0]) & set(studies[1]))
    if not shared:
        raise StudyError(
            f"{first.name} and {second.name} have no finished run in common.",
            expected="runs of the same encoder, loss, fold and seed in both",
            fix="Run both studies first; their encoders, losses, folds and seeds should overlap.",
        )
    pairs = [(studies[0][name], studies[1][name]) for name in shared]
    for a, b in pairs:
        if a.record.get("split_hash") != b.record.get("split_hash"):
            raise StudyError(
                f"{first.name} and {second.name} divide their images differently.",
                expected="one split",
                fix="Give both the same dataset, folds, fractions and split_seed.",
            )
    others = read_other_datasets(first)
    groups = {other.name: (other.groups, set(other.shared)) for other in others}
    rows = []
    for method in dict.fromkeys(f"{a.config.encoder}__{a.config.loss}" for a, _ in pairs):
        of_method = [pair for pair in pairs if pair[0].name.startswith(f"{method}__")]
        own_groups = load_dataset(of_method[0][0].config.dataset).groups
        rows += _rows(method, OWN, of_method, second.name, own_groups, set(), None)
        for other in others:
            both = [
                p for p in of_method if all(run.folder.transfer(other.name).read_status() == "complete" for run in p)
            ]
            if both:
                rows += _rows(method, other.title, both, second.name, *groups[other.name], other.name)
    return pd.DataFrame(rows)


def _rows(method: str, images: str, pairs: list[tuple[Run, Run]], study: str, groups, left_out, dataset) -> list[dict]:
    frames = []
    for place, label in enumerate(("first", "second")):
        for pair in pairs:
            run = pair[place]
            scores = read_score_file(run.folder.transfer(dataset).scores) if dataset else run.scores
            frames.append(scores.assign(run=f"{label}__fold{run.config.fold}__seed{run.config.seed}"))
    both = pd.concat(frames, ignore_index=True)
    both = both[~both["case_id"].isin(left_out)]
    rows = []
    for region in REGIONS:
        means = both[both["region"] == region].groupby(both["run"].str.partition("__")[0])["dice"].mean()
        (found,) = paired_differences(both, region, groups=groups).to_dict("records")
        rows.append(
            {"study": study, "method": method, "images": images, "region": region, "networks": len(pairs)}
            | {"n": found["n"], "first": means["first"], "second": means["second"]}
            | {"difference": -found["difference"], "ci_low": -found["ci_high"], "ci_high": -found["ci_low"]}
            | {"p": found["p"]}
        )
    return rows


def as_markdown(table: pd.DataFrame, first: str) -> str:
    """The table for a reader."""
    lines = [f"Compared with `{first}`, on the same images, same split and seeds (mean Dice over the images).", ""]
    lines += [
        "| study | network | images | region | networks | n | before | with it | typical gain [95 % interval] | p |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for row in table.itertuples():
        p = "< 0.001" if row.p < 0.001 else f"{row.p:.3f}"
        gain = f"{row.difference:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
        lines.append(
            f"| `{row.study}` | {method_title(row.method)} | {row.images} | {row.region} | {row.networks} | {row.n} "
            f"| {row.first:.3f} | {row.second:.3f} | {gain} | {p} |"
        )
    lines += ["", "The networks are taken as given: with one network a row, another training could change it."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the studies' names, compare, write, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="name of the study to compare with")
    parser.add_argument("others", nargs="+", help="names of studies with other settings")
    asked = parser.parse_args()
    first = StudyFolder.of(asked.first)
    try:
        parts = [compare(first, StudyFolder.of(name)) for name in asked.others]
        table = pd.concat(parts, ignore_index=True)
        place = project_root() / "outputs" / "reference" / first.name
        _write(place / "settings.csv", table.to_csv(index=False, float_format="%.6g"))
        _write(place / "settings.md", as_markdown(table, first.name))
    except StudyError as error:
        sys.exit(str(error))
    print(as_markdown(table, first.name))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
