"""`benchmarks/compare_precision.py`: only trainings that differ in nothing but precision and seed are compared."""

import json

import pandas as pd
import pytest

from benchmarks import compare_precision


def trial(precision, seed, dice, epochs=30, encoder="mobilenet"):
    settings = {"epochs": epochs} | ({"seed": seed} if seed else {}) | ({"precision": precision} if precision else {})
    row = {"dataset": "cells", "encoder": encoder, "loss": "dice", "settings": json.dumps(settings)}
    return row | {"last_val_dice_nucleus": dice, "last_val_dice_cytoplasm": dice - 0.1}


def test_trainings_of_equal_settings_are_paired():
    trials = [trial(precision, seed, 0.9 + seed / 100) for seed in range(3) for precision in ("float32", "bfloat16")]
    # Repeated, without a partner, in another precision and with other settings.
    trials += [
        trial("bfloat16", 2, 0.95),
        trial("float32", 3, 0.1),
        trial("", 0, 0.1),
        trial("float32", 0, 0.1, epochs=5),
    ]
    trials += [trial("bfloat16", 1, 0.1, encoder="resnet18")]
    pairs = compare_precision.read_pairs(pd.DataFrame(trials))
    assert len(pairs) == 6 and set(pairs["seed"]) == {0, 1, 2} and set(pairs["encoder"]) == {"mobilenet"}
    nucleus, cytoplasm = compare_precision.compare(pairs).to_dict("records")
    assert (nucleus["region"], nucleus["seeds"], nucleus["float32"]) == ("nucleus", 3, 0.91)
    assert (nucleus["bfloat16_from"], nucleus["bfloat16_to"], nucleus["difference"]) == (0.9, 0.95, 0.01)
    assert cytoplasm["difference"] == pytest.approx(0.01) and 0 < cytoplasm["p_welch"] < 1
