"""Feed inputs to the code that reads them, in a sandbox that reports every side effect."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from tests.fuzz import mutations
from tests.fuzz.targets import TARGETS, Target
from wbcstudy.errors import StudyError
from wbcstudy.files import project_root

# Inputs of each kind in a full run.
COUNTS = {
    "study": 600, "dataset": 600, "cases": 320, "image": 320, "mask": 200, "archive": 200, "names": 120,
    "record": 2000, "network": 30,
}  # fmt: skip
# Memory allowed, in kB.
_MOST_KB = 2_000_000
OUTCOMES = ("used", "refused", "HARM")
# Audit events that change files: for each, the indices of the path and of the folder descriptor it is relative to
# (-1 for the current folder).
_CHANGES = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),),
}  # fmt: skip
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect")


class TimeLimitExceeded(BaseException):
    """One input used more than its processor time."""


class Sandbox:
    """A folder with inputs in `in/` and results in `out/`; records every change outside `out/`.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.inputs, self.outputs = self.folder / "in", self.folder / "out"
        self.outputs.mkdir(parents=True)
        self.violations: list[str] = []
        self._watching = False
        # Compiled modules would show up as files that an input has written.
        sys.dont_write_bytecode = True
        # An audit hook cannot be removed. It does nothing unless `_watching` is set.
        sys.addaudithook(self._audit)

    def clear(self) -> Path:
        """Empty both folders and return the folder for the next input."""
        for folder in (self.inputs, self.outputs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return self.inputs

    def list_files(self) -> dict[str, tuple]:
        """Return path -> (mode, size, time of change) of every file outside `out/`."""
        files = {}
        for path in self.folder.rglob("*"):
            if path != self.outputs and self.outputs not in path.parents:
                status = path.lstat()
                files[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns if path.is_file() else 0)
        return files

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Record violations inside the block; results, the home folder and temporary files go to `out/`."""
        environment, temporary, current = dict(os.environ), tempfile.tempdir, Path.cwd()
        for name, folder in {"OUTPUTS": "outputs", "DATA": "data"}.items():
            os.environ[f"WBCSTUDY_{name}"] = str(self.outputs / folder)
        os.environ |= {"HOME": str(self.outputs / "home"), "WBCSTUDY_ROOT": str(project_root())}
        os.environ.pop("WBCSTUDY_DEBUG", None)
        tempfile.tempdir = str(self.outputs)
        os.chdir(self.folder)
        self.violations, before, self._watching = [], self.list_files(), True
        try:
            yield
        finally:
            self._watching = False
            os.chdir(current)
            os.environ.clear()
            os.environ.update(environment)
            tempfile.tempdir = temporary
        after = self.list_files()
        self.violations += [f"changed {name}" for name in before if after.get(name) != before[name]]
        self.violations += [f"made {name}" for name in after if name not in before]

    def _audit(self, event: str, arguments: tuple) -> None:
        if not self._watching:
            return
        if event in _PROGRAMS:
            self.violations.append(f"{event} {arguments[0]!r}")
            return
        touched = [(arguments[k], -1 if at is None else arguments[at]) for k, at in _CHANGES.get(event, ())]
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            touched = [(arguments[0], -1)]
        for name, folder in touched:
            if isinstance(name, str | bytes | os.PathLike) and not self._is_allowed(os.fsdecode(name), folder):
                self.violations.append(f"{event} {os.fsdecode(name)!r}")

    def _is_allowed(self, name: str, folder: int) -> bool:
        path = Path(self.folder if folder < 0 else Path(f"/proc/self/fd/{folder}").readlink(), name)
        path = Path(os.path.realpath(path.parent)) / path.name
        return self.outputs in (path, *path.parents) or name == os.devnull


def feed(sandbox: Sandbox, target: Target, data: bytes) -> tuple[str, str]:
    """Feed one input to its reader.

    Returns:
        One of `OUTCOMES`, and the reader's output or the reason for the harm.
    """
    target.write(sandbox.clear(), data)
    before_kb = _peak_kb()
    try:
        with sandbox.watched(), _time_limit(target.limit_s):
            message = target.read(sandbox.inputs, sandbox.outputs)
        outcome = "used"
    except StudyError as error:
        outcome, message = "refused", str(error)
        with contextlib.suppress(AttributeError):
            message.encode()
    except (Exception, TimeLimitExceeded) as error:
        return "HARM", f"{type(error).__name__}: {error}"
    if before_kb <= _MOST_KB < _peak_kb():
        return "HARM", f"peak memory {_peak_kb() / 1e3:.0f} MB"
    if sandbox.violations:
        return "HARM", "; ".join(sandbox.violations[:5])
    return outcome, message


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextlib.contextmanager
def _time_limit(limit_s: int) -> Iterator[None]:
    def stop(number, frame):
        raise TimeLimitExceeded(f"more than {limit_s} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(
    folder: Path, counts: dict[str, int], seed: int = 0, show: Callable[[str], object] = print, keep: Path | None = None
) -> pd.DataFrame:
    """Feed inputs of each kind.

    Args:
        folder: an empty folder to work in.
        counts: kind -> number of inputs.
        seed: seed of all random choices.
        show: called with one line for each input that did harm.
        keep: folder for these inputs; None keeps none.

    Returns:
        One row per kind and mutation: inputs, used, refused, harm.
    """
    sandbox, totals = Sandbox(folder), Counter()
    # Pillow and zipfile warn about damaged files on standard error.
    warnings.simplefilter("ignore")
    for kind, count in counts.items():
        target = TARGETS[kind]
        for k in range(count):
            rng = random.Random(f"{seed} {kind} {k}")
            mutation, data = mutations.mutate(kind, rng, target.examples())
            outcome, message = feed(sandbox, target, data)
            totals[kind, mutation, outcome] += 1
            if outcome == "HARM":
                show(f"{kind} {k} ({mutation}): {message[:600]}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind}-{seed}-{k}").write_bytes(data)
    pairs = sorted({pair[:2] for pair in totals}, key=lambda pair: (list(COUNTS).index(pair[0]), pair[1]))
    rows = [
        {"kind": kind, "mutation": mutation, "inputs": sum(totals[kind, mutation, outcome] for outcome in OUTCOMES)}
        | {outcome.lower(): totals[kind, mutation, outcome] for outcome in OUTCOMES}
        for kind, mutation in pairs
    ]
    return pd.DataFrame(rows)
