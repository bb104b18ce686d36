"""Feed thousands of damaged inputs to the commands that read them, and see what becomes of each.

    python scripts/fuzz_inputs.py                        # 2,510 inputs, some minutes
    python scripts/fuzz_inputs.py --only image --seed 7

Settings, descriptions of datasets, tables of cases, images, masks, archives, names of files, records and networks are
bent, cut and replaced, from a fixed seed. An input must be used rightly or refused in words: no other exception, no
program started, nothing written but to the folders for results, and no time or memory without bound. Writes
outputs/reference/fuzzing/fuzzing.csv; exits with 1, and keeps the inputs, if one did harm.
`scripts/fuzz_with_atheris.py` looks for such inputs by the code that they reach.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fuzz_mutations
import pandas as pd
from fuzz_targets import TARGETS, Target

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root

# Inputs of each kind in a full run.
COUNTS = {
    "study": 600, "dataset": 600, "cases": 320, "image": 320, "mask": 200, "archive": 200, "names": 120,
    "record": 120, "network": 30,
}  # fmt: skip
# What one input may take, in seconds of the processor; a machine that is busy does not matter.
LIMIT_S = 20
# Events of Python's audit hooks that change files: which of their arguments are the file, and the folder that it is
# counted from (a descriptor; -1 for the current folder).
_CHANGES = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),),
}  # fmt: skip
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect")


class TookTooLong(BaseException):
    """The processor was busy for longer than `LIMIT_S`."""


class Sandbox:
    """A folder with a place for inputs, `in/`, and one for results, `out/`; whatever changes elsewhere is noted.

    Args:
        place: an empty folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place.resolve()
        self.inputs, self.outputs = self.place / "in", self.place / "out"
        self.outputs.mkdir(parents=True)
        self.trespasses: list[str] = []
        self._watching = False
        # No compiled modules beside the package: whatever is written shall come from the input.
        sys.dont_write_bytecode = True
        # A hook cannot be taken away again; it sleeps while nothing is watched.
        sys.addaudithook(self._audit)

    def fresh(self) -> Path:
        """The empty place for the next input; results of the last one go, too."""
        for folder in (self.inputs, self.outputs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return self.inputs

    def listing(self) -> dict[str, tuple]:
        """Every file but the results: path -> kind, size and time of change."""
        found = {}
        for path in self.place.rglob("*"):
            if path != self.outputs and self.outputs not in path.parents:
                about = path.lstat()
                found[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns if path.is_file() else 0)
        return found

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Results, homes and temporary files of what runs inside lie in `out/`."""
        before, temporary, where = dict(os.environ), tempfile.tempdir, Path.cwd()
        for name, folder in {"OUTPUTS": "outputs", "DATA": "data"}.items():
            os.environ[f"WBCSTUDY_{name}"] = str(self.outputs / folder)
        os.environ |= {"HOME": str(self.outputs / "home"), "WBCSTUDY_ROOT": str(project_root())}
        os.environ.pop("WBCSTUDY_DEBUG", None)
        tempfile.tempdir = str(self.outputs)
        os.chdir(self.place)
        self.trespasses, listed, self._watching = [], self.listing(), True
        try:
            yield
        finally:
            self._watching = False
            os.chdir(where)
            os.environ.clear()
            os.environ.update(before)
            tempfile.tempdir = temporary
        after = self.listing()
        self.trespasses += [f"changed {name}" for name in listed if after.get(name) != listed[name]]
        self.trespasses += [f"made {name}" for name in after if name not in listed]

    def _audit(self, event: str, arguments: tuple) -> None:
        if not self._watching:
            return
        if event in _PROGRAMS:
            self.trespasses.append(f"{event} {arguments[0]!r}")
            return
        touched = [(arguments[k], -1 if at is None else arguments[at]) for k, at in _CHANGES.get(event, ())]
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            touched = [(arguments[0], -1)]
        for name, folder in touched:
            if isinstance(name, str | bytes | os.PathLike) and not self._allowed(os.fsdecode(name), folder):
                self.trespasses.append(f"{event} {os.fsdecode(name)!r}")

    def _allowed(self, name: str, folder: int) -> bool:
        path = Path(self.place if folder < 0 else Path(f"/proc/self/fd/{folder}").readlink(), name)
        path = Path(os.path.realpath(path.parent)) / path.name
        return self.outputs in (path, *path.parents) or name == os.devnull


def feed(sandbox: Sandbox, target: Target, data: bytes) -> tuple[str, str]:
    """Give one input to what reads it.

    Returns:
        "used", "refused" (in words) or "HARM", and what was said or what was wrong.
    """
    target.write(sandbox.fresh(), data)
    try:
        with sandbox.watched(), _limited():
            said = target.read(sandbox.inputs, sandbox.outputs)
        outcome = "used"
    except StudyError as error:
        outcome, said = "refused", str(error)
        with contextlib.suppress(AttributeError):
            said.encode()
    except (Exception, TookTooLong) as error:
        return "HARM", f"{type(error).__name__}: {error}"
    if sandbox.trespasses:
        return "HARM", "; ".join(sandbox.trespasses[:5])
    return outcome, said


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(number, frame):
        raise TookTooLong(f"more than {LIMIT_S} s of the processor")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(
    place: Path, counts: dict[str, int], seed: int = 0, show: Callable[[str], object] = print, keep: Path | None = None
) -> pd.DataFrame:
    """Feed inputs of each kind.

    Args:
        place: an empty folder to work in.
        counts: kind -> number of inputs.
        seed: of all choices.
        show: told in one line of each input that did harm.
        keep: folder for those inputs; None keeps none.

    Returns:
        One row per kind and way of bending: inputs, used, refused, harm.
    """
    sandbox, rows = Sandbox(place), Counter()
    # Of what Pillow and zipfile think of their input, on standard error.
    warnings.simplefilter("ignore")
    for kind, count in counts.items():
        target = TARGETS[kind]
        for k in range(count):
            rng = random.Random(f"{seed} {kind} {k}")
            way, data = fuzz_mutations.bend(kind, rng, target.examples())
            outcome, said = feed(sandbox, target, data)
            rows[kind, way, outcome] += 1
            if outcome == "HARM":
                show(f"{kind} {k} ({way}): {said[:600]}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind}-{seed}-{k}").write_bytes(data)
    ways = sorted({(kind, way) for kind, way, _ in rows}, key=lambda pair: (list(COUNTS).index(pair[0]), pair[1]))
    table = [
        {"kind": kind, "bent": way, "inputs": sum(rows[kind, way, outcome] for outcome in ("used", "refused", "HARM"))}
        | {name.lower(): rows[kind, way, name] for name in ("used", "refused", "HARM")}
        for kind, way in ways
    ]
    return pd.DataFrame(table)


def main() -> None:
    """Feed, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(COUNTS), help="one kind; the file of results is then left alone")
    parser.add_argument("--times", type=float, default=1, help="how many times as many inputs as usual")
    parser.add_argument("--quick", action="store_true", help="a twelfth, no networks, and no file of results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzzing-harm"), help="folder for inputs that do harm")
    args = parser.parse_args()
    counts = {kind: round(count * args.times) for kind, count in COUNTS.items() if args.only in (None, kind)}
    if args.quick:
        counts = {kind: count // 12 for kind, count in counts.items() if kind != "network"}
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        frame = fuzz(place, counts, args.seed, lambda line: print(line, flush=True), args.keep)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(frame.to_string(index=False))
    if not args.only and not args.quick:
        with atomic_write(project_root() / "outputs" / "reference" / "fuzzing" / "fuzzing.csv") as part:
            frame.to_csv(part, index=False, lineterminator="\n")
    print(f"{frame['inputs'].sum()} inputs: {frame['used'].sum()} used, {frame['refused'].sum()} refused in words, "
          f"{frame['harm'].sum()} did harm")  # fmt: skip
    sys.exit(bool(frame["harm"].sum()))


if __name__ == "__main__":
    main()
