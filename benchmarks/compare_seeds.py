"""Evaluate the trainings of `train_seeds.py`: false differences between seeds, and the moving average of the weights.

    python benchmarks/compare_seeds.py --keep     # after train_seeds.py: copy its results to outputs/reference/
    python benchmarks/compare_seeds.py            # write the tables of docs/seeds.md

Two groups of seeds of one network are compared as if they were two networks ("A against A"): a significant difference
is an error. The earlier rule (Wilcoxon's test per region, trainings fixed) and the present one are applied to the same
groups. Everything about the moving average uses validation images only.
"""

import argparse
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from scipy.stats import beta, t, wilcoxon

from wbcstudy.config import split_run_name
from wbcstudy.data.duplicates import known_duplicates, merge_groups
from wbcstudy.files import atomic_write, outputs_folder, project_root, read_json
from wbcstudy.registry import ENCODERS
from wbcstudy.scoring.case_tables import average_groups, case_table
from wbcstudy.scoring.statistics import ALPHA, paired_differences

REGIONS = ("nucleus", "cytoplasm")
KEPT = project_root() / "outputs" / "reference" / "seeds"
PAGE = project_root() / "docs" / "seeds.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
# Most comparisons of one network with one number of seeds; of more, some are drawn.
MOST = 30
# Last epochs of a training over which the spread of the validation Dice is computed.
LAST = 5


def keep(folder: Path) -> None:
    """Join the files of all finished trainings in outputs/reference/seeds/, with a row of trainings.csv for each."""
    paths = sorted(folder.glob("*__seed*.json"))
    records = []
    for path in paths:
        method, _, seed = split_run_name(path.stem)
        records.append((read_json(path) or {}) | {"encoder": method.partition("__")[0], "seed": seed})
    KEPT.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(records).to_csv(KEPT / "trainings.csv", index=False, float_format="%.4g")
    for kind in ("scores", "epochs", "boundary"):
        frames = []
        for path, record in zip(paths, records, strict=True):
            if kind == "boundary" and not path.with_suffix(".boundary.csv").exists():
                continue  # Trained by an earlier version.
            frame = pd.read_csv(path.with_suffix(f".{kind}.csv"), dtype={"case_id": str})
            frame = frame.drop(columns="run", errors="ignore")
            frames.append(frame.assign(encoder=record["encoder"], seed=record["seed"]))
        if not frames:
            continue
        joined = pd.concat(frames)
        if kind == "scores":
            # Wide, to keep the file small.
            keys = ["encoder", "seed", "weights", "part", "case_id"]
            joined = joined.pivot_table(index=keys, columns="region", values="dice").reset_index()
        joined.round(4).to_csv(KEPT / f"{kind}.csv", index=False)
    shutil.copy(folder / "split.json", KEPT / "split.json")


def read_scores() -> pd.DataFrame:
    """Return one row per encoder, seed, kind of weights, part, case and region, with its Dice."""
    scores = pd.read_csv(KEPT / "scores.csv", dtype={"case_id": str})
    keys = ["encoder", "seed", "weights", "part", "case_id"]
    return scores.melt(keys, list(REGIONS), var_name="region", value_name="dice")


def split_seeds(seeds: list[int], size: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield every pair of disjoint groups of `size` seeds, once."""
    for first in itertools.combinations(seeds, size):
        rest = [seed for seed in seeds if seed not in first]
        for second in itertools.combinations(rest, size):
            if first < second:
                yield first, second


def compare(scores: pd.DataFrame, first: tuple[int, ...], second: tuple[int, ...], groups) -> dict[str, bool]:
    """Compare two groups of seeds of one network as two networks; return rule and region -> significant."""
    names = {seed: f"a__fold0__seed{seed}" for seed in first} | {seed: f"b__fold0__seed{seed}" for seed in second}
    frame = scores[scores["seed"].isin(names)]
    frame = frame.assign(run=frame["seed"].map(names)).drop(columns=["seed", "encoder"])
    new = paired_differences(frame, REGIONS, groups=groups).set_index("region")["p_adjusted"] < ALPHA
    result = {f"new {region}": bool(new[region]) for region in REGIONS}
    for region in REGIONS:
        table = case_table(frame, region)
        values = average_groups((table["a"] - table["b"]).to_frame("difference"), groups)["difference"].round(12)
        # Holm's correction has no effect on a single pair.
        result[f"old {region}"] = bool(wilcoxon(values, zero_method="pratt").pvalue < ALPHA)
    return result | {rule: any(result[f"{rule} {region}"] for region in REGIONS) for rule in ("old", "new")}


def false_differences(scores: pd.DataFrame, groups) -> pd.DataFrame:
    """Return one row per kind of weights and number of seeds: the share of comparisons with a significant difference.

    Returns:
        weights, seeds (per group), comparisons, disjoint (of them, those that share no training), and for each rule the
        number of comparisons with a difference in any region, and its share with a 95 % interval (Clopper, Pearson)
        for the number of disjoint comparisons.
    """
    rows = []
    for weights, size in itertools.product(("averaged", "plain"), (1, 2, 3, 4)):
        results, disjoint = [], 0
        for _, part in scores[(scores["part"] == "test") & (scores["weights"] == weights)].groupby("encoder"):
            seeds = sorted(part["seed"].unique())
            disjoint += len(seeds) // (2 * size)
            pairs = [*split_seeds(seeds, size)]
            pairs = random.Random(0).sample(pairs, min(MOST, len(pairs)))
            results += [compare(part, *pair, groups) for pair in pairs]
        if results:
            counts = pd.DataFrame(results).sum()
            row = {"weights": weights, "seeds": size, "comparisons": len(results), "disjoint": disjoint}
            rows.append(row | {name: int(count) for name, count in counts.items()})
    return pd.DataFrame(rows)


def share_interval(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson for a share of a number of comparisons."""
    count = share * number
    low = beta.ppf(ALPHA / 2, count, number - count + 1) if count > 0 else 0.0
    high = beta.ppf(1 - ALPHA / 2, count + 1, number - count) if count < number else 1.0
    return low, high


def average_effect(scores: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per encoder and region: mean and spread on validation images, plain and averaged.

    Returns:
        encoder, region, seeds; mean_* and sd_*: mean over the validation images of the kept network, its mean and sd
        over the seeds; gain, gain_low, gain_high: averaged minus plain, mean over the seeds with a 95 % t interval;
        last_*: sd over the last epochs of one training (pooled Dice at image_size), median over the seeds; better:
        number of seeds with a gain.
    """
    rows = []
    for encoder, region in itertools.product(scores["encoder"].unique(), REGIONS):
        part = scores[(scores["part"] == "validation") & (scores["encoder"] == encoder) & (scores["region"] == region)]
        means = part.groupby(["weights", "seed"])["dice"].mean().unstack("seed")  # noqa: PD010
        gains = means.loc["averaged"] - means.loc["plain"]
        half = t.ppf(1 - ALPHA / 2, len(gains) - 1) * gains.sem()
        row = {"encoder": encoder, "region": region, "seeds": len(gains), "better": int((gains > 0).sum())}
        row |= {"gain": gains.mean(), "gain_low": gains.mean() - half, "gain_high": gains.mean() + half}
        for weights in ("plain", "averaged"):
            row |= {f"mean_{weights}": means.loc[weights].mean(), f"sd_{weights}": means.loc[weights].std()}
            last = epochs[(epochs["encoder"] == encoder) & (epochs["weights"] == weights)]
            last = last[last["epoch"] > last["epoch"].max() - LAST]
            row[f"last_{weights}"] = last.groupby("seed")[f"val_dice_{region}"].std().median()
        rows.append(row)
    return pd.DataFrame(rows)


def write_page(differences: pd.DataFrame, effect: pd.DataFrame, trainings: pd.DataFrame) -> str:
    """Return the generated part of docs/seeds.md."""
    settings = trainings.iloc[0]
    number = trainings["encoder"].value_counts()
    titles = {name: ENCODERS[name].title for name in number.index}
    lines = [
        f"{len(trainings)} trainings ({', '.join(f'{number[name]} of {title}' for name, title in titles.items())}; "
        f"cross-entropy, random weights) at {settings['image_size']} px, {settings['epochs']} epochs of "
        f"{settings['steps_per_epoch']} steps; median {trainings['processor_seconds'].median():.0f} s of processor "
        "time each.",
        "",
        "### Two groups of seeds of one network",
        "",
        "| weights | seeds per group | comparisons (disjoint) | earlier rule: called different | present rule: called "
        "different |",
        "|---|---|---|---|---|",
    ]
    for row in differences.to_dict("records"):
        cells = []
        for rule in ("old", "new"):
            share = row[rule] / row["comparisons"]
            low, high = share_interval(share, row["disjoint"])
            cells.append(f"{row[rule]} = {100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
        numbers = f"{row['comparisons']} ({row['disjoint']})"
        lines.append(f"| {row['weights']} | {row['seeds']} | {numbers} | {' | '.join(cells)} |")
    lines += [
        "",
        "### Moving average of the weights",
        "",
        "| encoder | region | seeds | plain: mean (sd over seeds) | averaged: mean (sd over seeds) "
        f"| gain [95 % interval] | seeds with a gain | sd over the last {LAST} epochs: plain | averaged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in effect.to_dict("records"):
        means = " | ".join(f"{row[f'mean_{kind}']:.4f} ({row[f'sd_{kind}']:.4f})" for kind in ("plain", "averaged"))
        gain = f"{row['gain']:+.4f} [{row['gain_low']:+.4f}, {row['gain_high']:+.4f}]"
        last = " | ".join(f"{row[f'last_{kind}']:.4f}" for kind in ("plain", "averaged"))
        lines.append(
            f"| {titles[row['encoder']]} | {row['region']} | {row['seeds']} | {means} | {gain} "
            f"| {row['better']} of {row['seeds']} | {last} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Keep the trainings, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="seeds", help="folder in outputs/ with the results of train_seeds.py")
    parser.add_argument("--keep", action="store_true", help="copy them to outputs/reference/seeds/ first")
    args = parser.parse_args()
    if args.keep:
        keep(outputs_folder() / args.name)
    trainings, epochs = (pd.read_csv(KEPT / f"{name}.csv") for name in ("trainings", "epochs"))
    scores = read_scores()
    groups = merge_groups({}, [pair.case_ids for pair in known_duplicates(trainings["dataset"].iloc[0])])
    tables = write_page(false_differences(scores, groups), average_effect(scores, epochs), trainings)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    with atomic_write(PAGE) as part:
        part.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(tables)


if __name__ == "__main__":
    main()
