"""How often does the decision call a network equivalent that is not, and how often one that is?

    python benchmarks/simulate_decision.py

Draws validation scores of a best network and four cheaper ones, with the spread between images and seeds that
`wbcstudy.study.sample_size` takes from VGG-16 on Dataset 2. In the worst case, the cheaper ones differ by exactly the
margin for the nucleus and not at all for the cytoplasm. The scores are normal, without the long lower tail of real
Dice. Writes outputs/reference/statistics/decision.csv. Takes less than a minute.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from wbcstudy.files import atomic_write, project_root
from wbcstudy.scoring.decision import equivalent_to
from wbcstudy.scoring.statistics import MethodScores, compare_scores
from wbcstudy.study.sample_size import REFERENCE_SPREAD

MARGIN = 0.01
CHEAPER = ("mobilenet__dice", "mobilenetv2__dice", "resnet18__dice", "resnet34__dice")
BEST = "resnet50__dice"
REPEATS = 400


def draw_scores(
    generator: np.random.Generator, images: int, seeds: int, difference: float
) -> dict[str, dict[str, MethodScores]]:
    """Draw the Dice per region and network; the cheaper ones are worse for the nucleus."""
    cases, scores = np.array([f"{i:03}" for i in range(images)]), {}
    for region, spread in REFERENCE_SPREAD.items():
        level = 0.9 + 0.03 * generator.standard_normal(images)
        scores[region] = {}
        for method in (BEST, *CHEAPER):
            lower = difference if region == "nucleus" and method != BEST else 0.0
            # `cases` is the standard deviation of a difference of two networks.
            network = level - lower + spread.cases / np.sqrt(2) * generator.standard_normal(images)
            # With one seed, the result is about these trained networks, whose effect is part of their mean.
            training = spread.seeds * generator.standard_normal(seeds) if seeds > 1 else 0.0
            residual = spread.residual * generator.standard_normal((images, seeds))
            scores[region][method] = MethodScores(cases, network[:, None] + training + residual)
    return scores


def call_equivalent(scores: dict[str, dict[str, MethodScores]]) -> bool:
    """Return whether any cheaper network is called equivalent, as `find_equivalent` does with a table of scores."""
    pairs = compare_scores(scores, planned=[(BEST, method) for method in CHEAPER])
    return bool(equivalent_to(pairs, BEST, MARGIN))


def main() -> None:
    """Simulate and write the table."""
    rows = []
    for seeds in (1, 3):
        for images in (16, 60, 200):
            row = {"seeds": seeds, "images": images, "repeats": REPEATS}
            for name, difference in (("wrong", MARGIN), ("right", 0.0)):
                generator = np.random.default_rng([seeds, images])
                called = [call_equivalent(draw_scores(generator, images, seeds, difference)) for _ in range(REPEATS)]
                row[name] = np.mean(called)
            rows.append(row)
            print(row, flush=True)
    with atomic_write(project_root() / "outputs" / "reference" / "statistics" / "decision.csv") as part:
        pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
