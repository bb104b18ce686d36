"""Coverage of the printed intervals, error rate of the comparisons, and power, with the Dice of real networks.

    python benchmarks/measure_statistics.py coverage
    python benchmarks/measure_statistics.py error_rates

Populations are the Dice values of networks in outputs/reference/: a sample of n test images is drawn with replacement,
and the interval should contain the value of all images. Comparisons draw images in the same way, for networks that are
made equal in two ways (`draw_study`), and add effects of seeds of the measured size (docs/how_we_compare.md). Writes
coverage.csv or error_rates.csv to outputs/reference/statistics/. No network is trained.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t, wilcoxon

from wbcstudy.files import atomic_write, project_root
from wbcstudy.scoring.agreement import agreement_factor, limits_of_agreement, measure_areas
from wbcstudy.scoring.boundary import BOUNDARY_METRICS, distance_interval
from wbcstudy.scoring.intervals import MIN_UNITS, Interval, ratio_interval, subtract_intervals
from wbcstudy.scoring.rank_stability import RankStability, resample_means
from wbcstudy.scoring.statistics import ALPHA, IMAGINED_DISTANCE, MethodScores, compare_scores

REGIONS = ("nucleus", "cytoplasm", "cell")
HEADLINE = REGIONS[:2]
DATASETS = ("segmentation_wbc_1", "segmentation_wbc_2")
SIZES = (8, 10, 20, 60)
NULLS = ("exchanged", "shifted")
METHODS, SEEDS = (2, 3, 10, 18), (1, 2, 3)
# Range of the sd between seeds, and sd of one image between seeds: VGG-16 with three seeds in vgg16_hed, vgg16_scratch
# and vgg16_hed_frozen. Beyond the residual, the sd between seeds was 0 to 0.005.
SD_SEEDS, SD_RESIDUAL = (0.002, 0.006), 0.015
IMAGES_OF_A_SLIDE = 5


def read_dice(study: str, part: str = "") -> pd.DataFrame:
    """Read the scores of a kept study: run, case_id, region, dice and counts."""
    return pd.read_csv(project_root() / "outputs" / "reference" / study / "runs" / "all" / part / "scores.csv")


def measure_coverage(samples: int, studies=DATASETS, sizes=SIZES, seed: int = 0) -> pd.DataFrame:
    """Measure how often each kind of interval contains the value of the population."""
    generator = np.random.default_rng(seed)
    rows = []
    for study, size in itertools.product(studies, sizes):
        frame = read_dice(study).dropna(subset="dice")
        for region in REGIONS:
            part = frame[frame["region"] == region]
            table = part.pivot_table("dice", "case_id", "run").dropna(axis=1)
            for run in table:
                counts = part[part["run"] == run][["tp", "fp", "fn"]].to_numpy(dtype=float)
                for kind, hits in cover_one(table[run].to_numpy(), counts, size, samples, generator).items():
                    rows.append((kind, study, region, size, run, *hits))
            pairs = list(itertools.combinations(table, 2))
            for a, b in (pairs[i] for i in generator.permutation(len(pairs))[:20]):
                hits = cover_difference(table[[a, b]].to_numpy(), size, samples, generator)
                rows.append(("difference of two networks", study, region, size, f"{a} {b}", *hits))
        rows += [(kind, study, quantity, size, *row) for kind, quantity, *row in cover_areas(frame, size, samples)]
        rows += [("rank of the mean", study, *row) for row in cover_ranks(frame, size, samples // 2)]
    rows += cover_drops(samples, sizes, generator)
    rows += cover_distances(samples, sizes)
    names = ["interval", "images", "region", "n", "network", "covered", "too_low", "too_high", "printed"]
    return pd.DataFrame(rows, columns=names)


def cover_one(dice, counts, size: int, samples: int, generator) -> dict[str, tuple[float, ...]]:
    """Measure the intervals of one network's mean and pooled Dice, and of the mean over slides."""
    tp, sums = 2 * counts[:, 0], 2 * counts[:, 0] + counts[:, 1] + counts[:, 2]
    rows = generator.integers(len(dice), size=(samples, size))
    hits = {
        "mean Dice": _rates(many_intervals(dice[rows]), dice.mean()),
        "pooled Dice": _rates(many_intervals(tp[rows], sums[rows]), tp.sum() / sums.sum()),
    }
    # Slides of images that are alike: sorted by Dice, with noise as large as the spread between images. The 20 images
    # of Dataset 2 are too few to draw slides from.
    if len(dice) // IMAGES_OF_A_SLIDE >= MIN_UNITS:
        noisy = dice + dice.std() * generator.standard_normal(len(dice))
        order = np.argsort(noisy)[: len(dice) // IMAGES_OF_A_SLIDE * IMAGES_OF_A_SLIDE]
        slides = dice[order].reshape(-1, IMAGES_OF_A_SLIDE).sum(axis=1)
        drawn = slides[generator.integers(len(slides), size=(samples, size))]
        ends = many_intervals(drawn, np.full_like(drawn, IMAGES_OF_A_SLIDE))
        hits["mean Dice, n slides of five images"] = _rates(ends, dice[order].mean())
    return hits


def cover_difference(dice: np.ndarray, size: int, samples: int, generator) -> tuple[float, ...]:
    """Measure the interval of the difference of two networks on the same images, without other comparisons."""
    rows = generator.integers(len(dice), size=(samples, size))
    differences = dice[rows, 0] - dice[rows, 1]
    variance = differences.var(axis=1, ddof=1) / size * (1 + IMAGINED_DISTANCE**2 / size)
    half = t.isf(0.025, size - 1) * np.sqrt(variance)
    ends = np.stack([differences.mean(axis=1) - half, differences.mean(axis=1) + half], axis=1)
    methods = {name: MethodScores(np.arange(size).astype(str), dice[rows[0]][:, [i]]) for i, name in enumerate("ab")}
    pair = compare_scores({"nucleus": methods}).iloc[0]
    np.testing.assert_allclose(ends[0], pair[["ci_low", "ci_high"]].astype(float), atol=1e-9)
    return _rates(ends, dice[:, 0].mean() - dice[:, 1].mean())


def cover_drops(samples: int, sizes, generator) -> list[tuple]:
    """Measure the interval of the drop from the own images to those of another dataset."""
    own, other = read_dice("transfer_2to1"), read_dice("transfer_2to1", "transfer/segmentation_wbc_1")
    rows = []
    for size, region, method in itertools.product(sizes, REGIONS, ("mobilenet", "resnet18")):
        first, second = (
            part[(part["region"] == region) & part["run"].str.startswith(method)].groupby("case_id")["dice"].mean()
            for part in (own, other)
        )
        populations = [first.dropna().to_numpy(), second.dropna().to_numpy()]
        drawn = [generator.choice(population, (samples, size)) for population in populations]
        ends = [many_intervals(values) for values in drawn]
        drops = [
            subtract_intervals(
                *(Interval(values.mean(), *pair, size, size) for values, pair in zip(both, pairs, strict=True))
            )
            for both, pairs in zip(zip(*drawn, strict=True), zip(*ends, strict=True), strict=True)
        ]
        hits = _rates(
            np.array([(drop.low, drop.high) for drop in drops]), populations[0].mean() - populations[1].mean()
        )
        rows.append(("drop to another dataset", "transfer_2to1", region, size, method, *hits))
    return rows


def cover_areas(frame: pd.DataFrame, size: int, samples: int) -> list[tuple]:
    """Measure the interval of the bias of areas, and the share of images within the limits of agreement."""
    generator, rows = np.random.default_rng(size), []
    measured = measure_areas(frame).dropna()
    for (run, quantity), part in measured.groupby(["run", "quantity"], sort=False):
        population = (part["predicted"] - part["reference"]).to_numpy()
        drawn = population[generator.integers(len(population), size=(samples, size))]
        ends, limits = many_agreements(drawn, (run, part))
        rows.append(("bias of areas", quantity, run, *_rates(ends, population.mean())))
        low, high = np.sort(limits, axis=1).T[:, :, None]
        outside = [(population < low - 1e-12).mean(), (population > high + 1e-12).mean()]
        rows.append(("limits of agreement: images within", quantity, run, 1 - sum(outside), *outside, 1.0))
    return rows


def many_agreements(drawn: np.ndarray, example: tuple[str, pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Compute intervals of the bias and limits of agreement, as `limits_of_agreement`, for samples (samples, n)."""
    n = drawn.shape[1]
    bias, spread = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
    half = agreement_factor(n) * spread
    if n < MIN_UNITS:
        half = np.full_like(half, np.nan)
    ends = np.stack([bias - half, bias + half], axis=1)
    limits = np.stack([bias - 1.96 * spread, bias + 1.96 * spread], axis=1)
    run, part = example
    first = part.iloc[[0] * n].assign(run=run, case_id=[f"{i:03}" for i in range(n)])
    (row,) = limits_of_agreement(first.assign(reference=0.0, predicted=drawn[0])).itertuples()
    np.testing.assert_allclose(ends[0], (row.bias_low, row.bias_high), atol=1e-6)
    np.testing.assert_allclose(limits[0], (row.limit_low, row.limit_high), atol=1e-6)
    return ends, limits


def cover_ranks(frame: pd.DataFrame, size: int, samples: int) -> list[tuple]:
    """Measure how often the interval of a network's rank contains its rank by the mean over all images."""
    generator, rows = np.random.default_rng(size), []
    for region in REGIONS:
        table = frame[frame["region"] == region].pivot_table("dice", "case_id", "run").dropna()
        if size < MIN_UNITS:
            rows += [(region, size, run, *_rates(np.full((1, 2), np.nan), 0.0)) for run in table]
            continue
        true = rankdata(-table.mean().to_numpy().round(12), method="min")
        below, above = np.zeros(len(true)), np.zeros(len(true))
        for _ in range(samples):
            drawn = table.iloc[generator.integers(len(table), size=size)].to_numpy()
            means = resample_means([drawn[:, [i]] for i in range(len(true))], np.arange(size), 400, generator)
            ends = RankStability(tuple(table), {region: means}).rank_intervals(region)
            below += (ends["rank_high"] < true).to_numpy()
            above += (ends["rank_low"] > true).to_numpy()
        shares = zip(table, 1 - (below + above) / samples, below / samples, above / samples, strict=True)
        rows += [(region, size, *row, 1.0) for row in shares]
    return rows


def cover_distances(samples: int, sizes) -> list[tuple]:
    """Measure the intervals of the mean boundary metrics, with the networks of docs/seeds.md."""
    boundaries = pd.read_csv(project_root() / "outputs" / "reference" / "seeds" / "boundary.csv")
    generator, rows = np.random.default_rng(0), []
    by = boundaries.groupby(["region", "encoder", "seed"], sort=False)
    for metric, size in itertools.product(BOUNDARY_METRICS, sizes):
        for (region, *network), part in by:
            population = part[metric].dropna().to_numpy()
            # As `distance_interval`, whose scale has no effect but that no value is cut off.
            scale = 1.0 if metric == "nsd" else -4 * population.max()
            ratios = population if metric == "nsd" else 1 + population / scale
            drawn = generator.choice(ratios, (samples, size))
            hits = list(_rates(many_intervals(drawn), ratios.mean()))
            if metric != "nsd":
                hits[1:3] = hits[2:0:-1]
                example = distance_interval((1 - drawn[0]) * -scale)
                low, high = many_intervals(drawn[:1])[0]
                np.testing.assert_allclose(((1 - high) * -scale, (1 - low) * -scale), example[1:3], atol=1e-6)
            title = {"nsd": "mean NSD", "hd95_px": "mean HD95", "assd_px": "mean ASSD"}[metric]
            rows.append((title, "segmentation_wbc_1", region, size, " ".join(map(str, network)), *hits))
    return rows


def many_intervals(numerators: np.ndarray, denominators: np.ndarray | None = None) -> np.ndarray:
    """Compute `ratio_interval` for many samples at once: two arrays (samples, n) -> ends (samples, 2).

    The first samples are compared with `ratio_interval` itself.
    """
    parts = np.stack([numerators, np.ones_like(numerators) if denominators is None else denominators], axis=2)
    n = parts.shape[1]
    ratios = parts[:, :, 0] / parts[:, :, 1]
    size = parts[:, :, 1].mean(axis=1)
    imagined = np.maximum(0, 2 * ratios.min(axis=1) - np.median(ratios, axis=1))
    more = np.concatenate([parts, np.stack([imagined * size, size], axis=1)[:, None]], axis=1)
    (ratio, error), (lower, lower_error) = _ratios(parts), _ratios(more)
    quantile = t.isf(0.025, n - 1)
    low = np.maximum(0, np.minimum(lower - quantile * lower_error, ratio))
    ends = np.stack([low, np.minimum(1, ratio + quantile * error)], axis=1)
    if n < MIN_UNITS:
        ends[:] = np.nan
    for sample, pair in zip(parts[:3], ends, strict=False):
        interval = ratio_interval(*sample.T)
        np.testing.assert_allclose(pair, (interval.low, interval.high), atol=1e-9)
    return ends


def _ratios(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sums, n = parts.sum(axis=1), parts.shape[1]
    ratio = sums[:, 0] / sums[:, 1]
    residuals = parts[:, :, 0] - ratio[:, None] * parts[:, :, 1]
    return ratio, np.sqrt((residuals**2).sum(axis=1) * n / (n - 1)) / sums[:, 1]


def _rates(ends: np.ndarray, true: float) -> tuple[float, ...]:
    printed = ~np.isnan(ends[:, 0])
    low, high = ends[printed].T
    if not len(low):
        return np.nan, np.nan, np.nan, 0.0
    # Rounding must not decide about intervals of no width.
    below, above = (high < true - 1e-12).mean(), (low > true + 1e-12).mean()
    return 1 - below - above, below, above, printed.mean()


def equal_networks(null: str) -> dict[str, np.ndarray]:
    """Return study -> Dice of its networks: (regions, images, networks); `shifted` ones have equal means."""
    equal = {}
    for study in DATASETS:
        frame = read_dice(study)
        parts = [frame[frame["region"] == region].pivot_table("dice", "case_id", "run") for region in HEADLINE]
        stacked = np.stack([part.dropna().to_numpy() for part in parts])
        shifts = stacked.mean(axis=1, keepdims=True) - stacked.mean() if null == "shifted" else 0.0
        equal[study] = stacked - shifts
    return equal


def draw_study(
    population: np.ndarray, methods: int, seeds: int, images: int, generator, null: str, shift: float = 0.0
) -> dict:
    """Draw a study of equal networks, but for a shift of the first; region -> method -> scores.

    Networks are made equal in one of two ways. `exchanged`: for each image, every method gets the scores of a network
    drawn at random, so that methods differ as two trainings of one network do. `shifted`: each method is one network
    with its own difficult images, and only the means over all images are equal.
    """
    rows = generator.integers(population.shape[1], size=images)
    if null == "exchanged":
        networks = np.argsort(generator.random((images, population.shape[2])), axis=1)[:, :methods]
    else:
        networks = np.tile(generator.permutation(population.shape[2])[:methods], (images, 1))
    sd_seeds = generator.uniform(*SD_SEEDS, size=(methods, 1)) if seeds > 1 else 0.0
    sd_residual = SD_RESIDUAL if seeds > 1 else 0.0
    cases, study = np.arange(images).astype(str), {}
    for region, scores in zip(HEADLINE, population[:, rows[:, None], networks], strict=True):
        effects = sd_seeds * generator.standard_normal((methods, seeds))
        residual = sd_residual * generator.standard_t(5, size=(images, methods, seeds)) / np.sqrt(5 / 3)
        drawn = scores[:, :, None] + effects + residual
        drawn[:, 0] += shift
        study[region] = {f"m{i}": MethodScores(cases, drawn[:, i]) for i in range(methods)}
    return study


def measure_errors(studies: int, methods=METHODS, seeds=SEEDS, sizes=(8, 20, 60), nulls=NULLS) -> pd.DataFrame:
    """Measure the share of studies of equal networks with any significant difference, and the power."""
    rows = []
    for null in nulls:
        generator = np.random.default_rng([1, NULLS.index(null)])
        designs = itertools.product(equal_networks(null).items(), methods, seeds, sizes)
        for (name, population), number, repeats, images in designs:
            if number <= population.shape[2]:
                row = _measure_design(population, number, repeats, images, studies, generator, null)
                rows.append({"networks": null, "images": name} | row)
    return pd.DataFrame(rows)


def _measure_design(population, methods: int, seeds: int, images: int, studies: int, generator, null: str) -> dict:
    """Measure false alarms of one number of methods, seeds and images; with two methods also the power."""
    studies = studies if methods < 10 else max(studies // 3, 5)
    alarms, earlier, stated = [], [], []
    for _ in range(studies):
        study = draw_study(population, methods, seeds, images, generator, null)
        pairs = compare_scores(study)
        alarms.append((pairs["p_adjusted"] < ALPHA).any())
        if methods == 2:
            # The earlier rule: signed-rank test of each region on the means over the seeds.
            tests = [wilcoxon(part["m0"].means - part["m1"].means).pvalue for part in study.values()]
            earlier.append(min(tests) < ALPHA)
            stated.append(pairs["detectable"].mean())
    row = {"methods": methods, "seeds": seeds, "n": images, "studies": studies, "false_alarms": np.mean(alarms)}
    if methods > 2:
        return row
    detectable = float(np.median(stated))
    found = [
        _finds_first(draw_study(population, 2, seeds, images, generator, null, 2 * detectable)) for _ in range(studies)
    ]
    return row | {"earlier_rule": np.mean(earlier), "detectable": detectable, "power_at_twice": np.mean(found)}


def _finds_first(study: dict) -> float:
    pairs = compare_scores(study)
    return float(((pairs["p_adjusted"] < ALPHA) & (pairs["better"] == "m0")).mean())


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["coverage", "error_rates"])
    parser.add_argument("--samples", type=int, default=1000, help="samples per network and interval")
    parser.add_argument("--studies", type=int, default=300, help="simulated studies per row; a third with many methods")
    parser.add_argument("--quick", action="store_true", help="few samples, for a test")
    parser.add_argument("--output", type=Path, help="folder of the results")
    args = parser.parse_args()
    folder = args.output or project_root() / "outputs" / "reference" / "statistics"
    folder.mkdir(parents=True, exist_ok=True)
    if args.part == "coverage":
        measured = measure_coverage(2, DATASETS[1:], (8, 20)) if args.quick else measure_coverage(args.samples)
        table = summarise_coverage(measured)
    else:
        table = measure_errors(5, (2,), (1, 2), (20,)) if args.quick else measure_errors(args.studies)
    with atomic_write(folder / f"{args.part}.csv") as part:
        table.to_csv(part, index=False, float_format="%.4g", lineterminator="\n")


def summarise_coverage(table: pd.DataFrame) -> pd.DataFrame:
    """Average over the networks of a dataset, and add the lowest coverage of any of them."""
    by = table.groupby(["interval", "images", "region", "n"], sort=False)
    means = by[["covered", "too_low", "too_high", "printed"]].mean()
    return means.assign(lowest=by["covered"].min(), networks=by.size()).reset_index()


if __name__ == "__main__":
    main()
