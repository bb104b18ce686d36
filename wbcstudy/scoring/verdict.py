"""The comparison in words, for a reader without statistics: which method to use, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.scoring.methods import Groups, Trainings, add_methods, case_table, method_title, what_varies
from wbcstudy.scoring.power import smallest_detectable_difference
from wbcstudy.scoring.statistics import paired_differences, unit_differences, variance_components

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# More names than this do not read as a sentence; the rank table has them all.
_MOST_NAMES = 6


@dataclass(frozen=True)
class Comparison:
    """What the paired tests say of the methods, as data; `verdict` puts it into words.

    Args:
        region: that was compared.
        order: methods by mean over the cases that all of them scored, best first.
        leader: the method to look at first: beaten by the fewest others, then the highest mean. None with no method.
        beaten: the methods that the leader is better than.
        undecided: those that cannot be told apart from it, in order.
        all_undecided: whether no two of the leader and the undecided can be told apart either.
        cases: images that all methods scored.
        units: independent groups among them; as `cases` where no groups were given.
        detectable: two methods -> the smallest difference between them that would be found in four studies of five,
            at the strictest step of Holm's procedure; infinite with too few cases.
        trainings: seeds per method, at the least.
        most_trainings: the same at the most.
        sd_seeds: the largest seed-to-seed sd of the mean (over the images of all folds) of the compared methods; NaN
            where none has several seeds.
        pairs: the rows of `paired_differences`.
    """

    region: str
    order: tuple[str, ...]
    leader: str | None
    beaten: tuple[str, ...]
    undecided: tuple[str, ...]
    all_undecided: bool
    cases: int
    units: int
    detectable: Mapping[frozenset[str], float] = field(repr=False)
    trainings: int
    most_trainings: int
    sd_seeds: float
    pairs: pd.DataFrame = field(repr=False)

    def detectable_from(self, method: str, others: Iterable[str]) -> tuple[float, float]:
        """The least and the most of `detectable` between a method and each of others; NaN without others."""
        values = [self.detectable[frozenset((method, other))] for other in others]
        return min(values, default=np.nan), max(values, default=np.nan)

    @property
    def seen(self) -> tuple[float, float]:
        """`detectable_from` the leader: over the undecided methods, or over all others if there are none."""
        return self.detectable_from(self.leader, self.undecided or self.beaten)

    def lead_over(self, method: str) -> dict[str, float]:
        """The leader beside another method: behind (leader minus method, typical), ci_low, ci_high, p_holm.

        Args:
            method: another than the leader.
        """
        row = _row(self.pairs, self.leader, method)
        return {"behind": row["difference"]} | {name: row[name] for name in ("ci_low", "ci_high", "p_holm")}


def compare_methods(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    alpha: float = 0.05,
    trainings: Trainings | pd.DataFrame | None = None,
    groups: Groups | None = None,
) -> Comparison:
    """Find the leading method and those that cannot be told apart from it.

    Goes by Wilcoxon's test of every pair with Holm's correction, at `alpha` over all pairs of the region, and by the
    rank sums of the test. Assumptions as in `statistics.paired_differences`. The leader was chosen by the
    same scores, so its own score is a little too high; the tests are not touched by that, since they cover all pairs.

    Args:
        frame: rows as `score_masks` makes them, of the runs to compare, on one dataset.
        region: the one to compare.
        column: a ratio where higher is better.
        alpha: level over all pairs.
        trainings: run -> (encoder, loss, fold, seed); None reads the runs' names.
        groups: case id -> group, where cases are not independent.

    Returns:
        See `Comparison`.

    Raises:
        StudyError: as `paired_differences`.
    """
    table = case_table(frame, region, column, trainings)
    complete = table.dropna()
    pairs = paired_differences(frame, region, column, trainings, groups)
    means = complete.mean().reindex(table.columns)
    order = tuple(means.sort_values(ascending=False, kind="stable").index)
    wins = {_winner_first(row) for row in pairs.itertuples() if row.p_holm < alpha}
    losses = {method: sum(loser == method for _, loser in wins) for method in order}
    # min takes the first of equals: the one with the highest mean.
    leader = min(order, key=losses.get) if order else None
    others = [method for method in order if method != leader]
    beaten = tuple(method for method in others if (leader, method) in wins)
    undecided = tuple(method for method in others if not {(leader, method), (method, leader)} & wins)
    together = {leader, *undecided}
    units = len(unit_differences(complete, leader, leader, groups)) if order else 0
    seeds = add_methods(frame[frame["region"] == region], trainings).groupby("method")["seed"].nunique()
    detectable = {
        frozenset((row.method_a, row.method_b)): smallest_detectable_difference(
            unit_differences(table, row.method_a, row.method_b, groups), alpha=alpha / len(pairs)
        )
        for row in pairs.itertuples()
    }
    spread = variance_components(frame, region, column, trainings, groups)["sd_seeds"]
    return Comparison(
        region=region,
        order=order,
        leader=leader,
        beaten=beaten,
        undecided=undecided,
        all_undecided=not any(a in together and b in together for a, b in wins),
        cases=len(complete),
        units=units,
        detectable=detectable,
        trainings=int(seeds.min()) if len(seeds) else 0,
        most_trainings=int(seeds.max()) if len(seeds) else 0,
        sd_seeds=float(spread.max()) if spread.notna().any() else np.nan,
        pairs=pairs,
    )


def verdict(
    frame: pd.DataFrame,
    region: str,
    column: str = "dice",
    alpha: float = 0.05,
    trainings: Trainings | pd.DataFrame | None = None,
    groups: Groups | None = None,
) -> str:
    """A few plain sentences: which method leads, which cannot be told apart from it, and what would have been seen.

    Args:
        frame: rows as `score_masks` makes them, of the runs to compare, on one dataset.
        region: the one to compare.
        column: a ratio where higher is better.
        alpha: level over all pairs.
        trainings: run -> (encoder, loss, fold, seed); None reads the runs' names.
        groups: case id -> group, where cases are not independent.

    Returns:
        Text without markup; never says that methods are equal, only that they cannot be told apart. See
        `describe` for a comparison that is at hand already.

    Raises:
        StudyError: as `compare_methods`.
    """
    return describe(compare_methods(frame, region, column, alpha, trainings, groups), column)


def describe(found: Comparison, column: str = "dice") -> str:
    """The words of `verdict` for a comparison.

    Args:
        found: as `compare_methods` makes it.
        column: the ratio, as it is to be named.
    """
    kind = what_varies(found.order)
    many = f"{kind}es" if kind == "loss" else f"{kind}s"
    score = f"{found.region} {'Dice' if column == 'dice' else column}"
    images = _images(found)
    if found.leader is None:
        return f"No {score} was measured, so there is nothing to compare."
    if len(found.order) == 1:
        return f"Only one method was measured ({method_title(found.leader)}), so there is nothing to compare."
    if np.isinf(found.seen[0]) and not found.beaten:
        are = "is" if found.cases == 1 else "are"
        return (
            f"{_capital(images)} {are} too few to compare {_number(len(found.order))} {many}: no difference in "
            f"{score}, however large, could be told from chance. That does not mean that there is none."
        )
    if found.undecided:
        sentences = [_undecided(found, kind, many, score, images), _unseen(found, kind), *_ahead(found, kind)]
    else:
        sentences = [_decided(found, kind, many, score, images), _seen(found)]
    return " ".join([*sentences, *_seeds(found, kind, score)])


def _undecided(found: Comparison, kind: str, many: str, score: str, images: str) -> str:
    together = [method for method in found.order if method == found.leader or method in found.undecided]
    count = len(together)
    leader, names = _capital(method_title(found.leader, kind)), _names(together, kind, many)
    if not found.all_undecided:
        others = _names(found.undecided, kind, many)
        return f"{leader} leads by {score}, but {others} cannot be told apart from it on {images}."
    if count == len(found.order) > 2:
        names = f"The {_number(count)} {many} ({names})" if count <= _MOST_NAMES else f"The {_number(count)} {many}"
    elif together == list(found.order[:count]) and count < len(found.order):
        names = f"The first {_number(count)} {many} ({names})"
    return f"{_capital(names)} cannot be told apart by {score} on {images}."


def _unseen(found: Comparison, kind: str) -> str:
    # Losses cost the same.
    advice = " Choose among them by their cost." if found.all_undecided and kind != "loss" else ""
    if not np.isfinite(found.seen[1]):
        return "That does not mean that there is no difference." + advice
    return (
        f"That does not mean that there is no difference: one below {span_words(*found.seen)} would probably "
        "have gone unseen here (one of that size is found in four studies out of five)." + advice
    )


def _ahead(found: Comparison, kind: str) -> list[str]:
    if not found.beaten:
        return []
    rows = [_row(found.pairs, found.leader, method) for method in found.beaten]
    nearest = min(rows, key=lambda row: row["difference"])
    more = " or more" if len(rows) > 1 else ""
    names = _names(found.beaten, kind, "others")
    return [
        f"{_capital(method_title(found.leader, kind))} is better than {names}, typically by "
        f"{_with_interval(nearest)}{more}; {_p(rows)}."
    ]


def _decided(found: Comparison, kind: str, many: str, score: str, images: str) -> str:
    leader, count = _capital(method_title(found.leader, kind)), len(found.beaten)
    rows = [_row(found.pairs, found.leader, method) for method in found.beaten]
    nearest = min(rows, key=lambda row: row["difference"])
    rest = _names(found.beaten, kind, many)
    if 1 < count == len(found.order) - 1:
        rest = f"both other {many}" if count == 2 else f"all {_number(count)} other {many}"
    first = f"{leader} is better than {rest} by {score} on {images}."
    if count == 1:
        return f"{first} The typical difference is {_with_interval(nearest)}; {_p(rows)}."
    return f"{first} It is ahead of {method_title(nearest['other'], kind)} by {_with_interval(nearest)}; {_p(rows)}."


def _seen(found: Comparison) -> str:
    if not np.isfinite(found.seen[1]):
        return ""
    return (
        f"The smallest difference that these images would probably have shown is {span_words(*found.seen)}".rstrip(",")
        + "."
    )


def _seeds(found: Comparison, kind: str, score: str) -> list[str]:
    if found.most_trainings <= 1:
        return ["Each was trained with one seed only, so another training could change this."]
    said = ["Some were trained with one seed only."] if found.trainings <= 1 else []
    if np.isfinite(found.sd_seeds):
        few = "" if found.trainings in (1, found.most_trainings) else f"{found.trainings} to "
        said.append(
            f"From seed to seed the mean {score} of one {kind}, over all test images, had a standard deviation of up "
            f"to about {_amount(found.sd_seeds)} ({few}{found.most_trainings} seeds)."
        )
    return said


def _names(methods: Sequence[str], kind: str, many: str) -> str:
    titles = [method_title(method, kind) for method in methods]
    if len(titles) > _MOST_NAMES:
        return f"{_number(len(titles))} {many} from {titles[0]} to {titles[-1]}"
    *first, last = titles
    return f"{', '.join(first)} and {last}" if first else last


def _winner_first(row) -> tuple[str, str]:
    return (row.method_a, row.method_b) if row.better == row.method_a else (row.method_b, row.method_a)


def _row(pairs: pd.DataFrame, leader: str, other: str) -> dict:
    """The row of a pair, as leader minus other."""
    for row in pairs.to_dict("records"):
        if (row["method_a"], row["method_b"]) == (leader, other):
            return row | {"other": other}
        if (row["method_a"], row["method_b"]) == (other, leader):
            # 0 - x, since -x would make -0.000 of nothing.
            ends = {"ci_low": 0 - row["ci_high"], "ci_high": 0 - row["ci_low"]}
            return row | ends | {"difference": 0 - row["difference"], "other": other}
    raise KeyError((leader, other))


def _images(found: Comparison) -> str:
    plural = "image" if found.cases == 1 else "images"
    among = f" from {found.units} group{'' if found.units == 1 else 's'}" if found.units != found.cases else ""
    these = "this one" if found.cases == 1 else f"these {found.cases}"
    return f"{these} {plural}{among}"


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def span_words(least: float, most: float) -> str:
    """Two amounts as a sentence has them: "about 0.012", or "0.012 to 0.034, depending on which two"."""
    low, high = _amount(least), _amount(most)
    return f"about {low}" if low == high else f"{low} to {high}, depending on which two,"


def _amount(value: float) -> str:
    """Three decimals, more for what would be shown as nothing."""
    return f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1g}"


def _with_interval(row: dict) -> str:
    if np.isnan(row["ci_low"]):
        return _amount(row["difference"])
    return f"{_amount(row['difference'])} (95 % interval {_amount(row['ci_low'])} to {_amount(row['ci_high'])})"


def _p(rows: Sequence[dict]) -> str:
    largest = max(row["p_holm"] for row in rows)
    known = "below 0.001" if largest < 0.001 else f"{'at most ' if len(rows) > 1 else ''}{largest:.3f}"
    return f"the chance of such a result without any difference is {known} (Holm-adjusted p)"
