"""Does bfloat16 lose anything against float32? Validation Dice of the same trainings in both precisions.

    python benchmarks/try_settings.py --dataset segmentation_wbc_2 --set precision=float32 --set seed=0
    ...
    python benchmarks/compare_precision.py avx512_bf16/precision

The second command reads the rows of outputs/reference/settings/trials.csv that differ in seed and precision only, of
all encoders. Scores are means over the last three epochs, which depend less on chance than those of the best epoch.
"""

from __future__ import annotations

import argparse
import json

import pandas as pd
from machine import describe_machine, write_table
from scipy import stats
from try_settings import TRIALS

KEYS = ["dataset", "encoder", "loss", "others"]


def read_pairs(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that were run in both precisions, with the columns precision, seed and other settings."""
    settings = trials["settings"].map(json.loads)
    trials = trials.assign(
        precision=settings.map(lambda values: values.get("precision", "auto")),
        seed=settings.map(lambda values: values.get("seed", 0)),
        others=settings.map(
            lambda values: json.dumps({k: v for k, v in values.items() if k not in ("precision", "seed")})
        ),
    )
    trials = trials[trials["precision"].isin(("float32", "bfloat16"))]
    both = trials.groupby([*KEYS, "seed"])["precision"].transform("nunique") == 2
    return trials[both].drop_duplicates([*KEYS, "seed", "precision"], keep="last")


def compare(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per encoder and region: means and ranges over the seeds, and their difference."""
    rows = []
    for (dataset, encoder, _, _), part in pairs.groupby(KEYS):
        for region in ("nucleus", "cytoplasm"):
            column = f"last_val_dice_{region}"
            full, half = (part.loc[part["precision"] == name, column] for name in ("float32", "bfloat16"))
            row = {"dataset": dataset, "encoder": encoder, "region": region, "seeds": part["seed"].nunique()}
            row |= {"float32": full.mean(), "float32_from": full.min(), "float32_to": full.max()}
            row |= {"bfloat16": half.mean(), "bfloat16_from": half.min(), "bfloat16_to": half.max()}
            p = stats.ttest_ind(half, full, equal_var=False).pvalue
            rows.append(row | {"difference": half.mean() - full.mean(), "p_welch": p})
    return pd.DataFrame(rows).round(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="precision", help="name of the files in results/")
    args = parser.parse_args()
    pairs = read_pairs(pd.read_csv(TRIALS))
    if pairs.empty:
        raise SystemExit(f"{TRIALS} has no trials in both precisions. Run try_settings.py first, see --help.")
    notes = [
        "Pooled Dice of the validation cases, mean over the last three epochs: mean, lowest and highest of the seeds.",
        f"Settings: {'; '.join(sorted(set(pairs['others'])))}.",
        *describe_machine(),
    ]
    write_table(args.name, "bfloat16 and float32", compare(pairs), notes)


if __name__ == "__main__":
    main()
