"""Estimate the time that a study still needs, from measured seconds per epoch of each encoder."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wbcstudy.config import RunConfig
from wbcstudy.registry import ENCODERS
from wbcstudy.wording import duration, join_words

# The median of so many epochs ignores the first one, which builds the graph, and a short load of other programs.
_RECENT = 9
# The epochs of one run that say how fast it is now.
_OWN = 5


@dataclass
class Pace:
    """Measured seconds per epoch, and epochs until a training ends.

    Args:
        steps: (encoder, whether it is frozen) -> seconds per epoch from timed steps, used until an epoch is measured.
    """

    steps: Mapping[tuple[str, bool], float] = field(default_factory=dict)
    _epochs: dict = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=_RECENT)))
    _ended: list[float] = field(default_factory=list)
    _overheads: list[float] = field(default_factory=list)

    def add_epochs(self, run: RunConfig, seconds: Iterable[float]) -> None:
        """Add the seconds of each new epoch of a run."""
        self._epochs[_key(run)].extend(seconds)

    def add_run(self, run: RunConfig, epochs: int, overhead_s: float) -> None:
        """Add a finished run.

        Args:
            run: settings.
            epochs: trained epochs, fewer than `run.epochs` after early stopping.
            overhead_s: seconds of the run outside of its epochs.
        """
        self._ended.append(epochs / run.epochs)
        self._overheads.append(max(0.0, overhead_s))

    def seconds_per_epoch(self, run: RunConfig, own: Iterable[float] = ()) -> float | None:
        """Return the seconds of one epoch; None if neither an epoch nor a step of this encoder was measured.

        Args:
            run: settings.
            own: seconds of the epochs of this run so far, oldest first.
        """
        own = list(own)[-_OWN:]
        measured = own if len(own) >= 3 else self._epochs.get(_key(run)) or own
        return statistics.median(measured) if measured else self.steps.get(_key(run))

    def seconds_left(self, run: RunConfig, own: Iterable[float] = ()) -> float | None:
        """Return the seconds until a run ends, as far as its epochs are measured; None if they are not."""
        own = list(own)
        pace = self.seconds_per_epoch(run, own)
        if pace is None:
            return None
        # Trainings that ended early show how many epochs to expect.
        expected = run.epochs * (statistics.fmean(self._ended) if self._ended else 1.0)
        least = 1 if len(own) < run.epochs else 0
        return pace * max(expected - len(own), least) + (statistics.median(self._overheads) if self._overheads else 0.0)

    @property
    def ends_early(self) -> bool:
        """Whether trainings ended early, so that fewer epochs are expected."""
        return any(share < 1 for share in self._ended)


@dataclass(frozen=True)
class TimeLeft:
    """The time until all trainings of a study end.

    Args:
        seconds: of the trainings whose encoder was measured.
        unmeasured: encoders of which no epoch was measured yet.
        can_be_less: whether all epochs are counted, although a training may stop early.
        methods: whether earlier methods, which are not counted, still have to run.
    """

    seconds: float
    unmeasured: tuple[str, ...] = ()
    can_be_less: bool = False
    methods: bool = False

    def describe(self) -> str:
        """Return the time for a line of progress: "about 3 h 10 min left, less if trainings stop early"."""
        if not self.seconds and self.unmeasured:
            return "time left not measured yet"
        missing = [*self.unmeasured, *(["earlier methods"] if self.methods else [])]
        least = "more than" if missing and not self.can_be_less else "about"
        text = f"{least} {duration(self.seconds)} left"
        if missing:
            return f"{text}, without {join_words(missing, most=3)} (not measured yet)"
        return f"{text}, less if trainings stop early" if self.can_be_less else text


def study_time_left(pace: Pace, work: Mapping[str, tuple[RunConfig, Iterable[float]]], jobs: int) -> TimeLeft:
    """Estimate the time until the last training ends.

    Args:
        pace: measured epochs.
        work: name -> settings and seconds of each epoch so far, of every training that is not finished.
        jobs: trainings at the same time.
    """
    left = {name: pace.seconds_left(run, own) for name, (run, own) in work.items()}
    known = [seconds for seconds in left.values() if seconds is not None]
    unmeasured = dict.fromkeys(ENCODERS[work[name][0].encoder].title for name, value in left.items() if value is None)
    early = any(run.patience < run.epochs for run, _ in work.values()) and not pace.ends_early
    # The last training runs alone.
    seconds = max(sum(known) / max(1, jobs), max(known, default=0.0))
    return TimeLeft(seconds, tuple(unmeasured), early)


def _key(run: RunConfig) -> tuple[str, bool]:
    return run.encoder, run.freeze_encoder
