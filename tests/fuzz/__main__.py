"""Feed thousands of damaged inputs to the commands that read them, and count the outcomes.

    python -m tests.fuzz                        # 4,390 inputs, about an hour
    python -m tests.fuzz --only image --seed 7

Study files, dataset.yaml files, case tables, images, masks, archives, file names, records and networks are damaged
with a fixed seed. Every input must be used correctly or refused with an error message. Any other exception, a started
program, a file written outside the results folders, or unlimited time or memory counts as harm. Writes
outputs/reference/fuzzing/fuzzing.csv. Exits with 1 and keeps the inputs if any did harm.
`tests/fuzz/with_atheris.py` searches for such inputs by code coverage.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from tests.fuzz.runner import COUNTS, fuzz
from wbcstudy.files import atomic_write, project_root


def main() -> None:
    """Run the fuzzer and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(COUNTS), help="one kind of input; the results file is not written")
    parser.add_argument("--times", type=float, default=1, help="factor for the number of inputs")
    parser.add_argument("--quick", action="store_true", help="a twelfth of the inputs, no networks, no results file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzzing-harm"), help="folder for inputs that do harm")
    args = parser.parse_args()
    counts = {kind: round(count * args.times) for kind, count in COUNTS.items() if args.only in (None, kind)}
    if args.quick:
        # Each record is read by all commands, which takes a second.
        counts = {
            kind: count // (100 if kind == "record" else 12) for kind, count in counts.items() if kind != "network"
        }
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        frame = fuzz(folder, counts, args.seed, lambda line: print(line, flush=True), args.keep)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(frame.to_string(index=False))
    if not args.only and not args.quick:
        with atomic_write(project_root() / "outputs" / "reference" / "fuzzing" / "fuzzing.csv") as part:
            frame.to_csv(part, index=False, lineterminator="\n")
    print(f"Peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    print(f"{frame['inputs'].sum()} inputs: {frame['used'].sum()} used, {frame['refused'].sum()} refused with a "
          f"message, {frame['harm'].sum()} did harm")  # fmt: skip
    sys.exit(bool(frame["harm"].sum()))


if __name__ == "__main__":
    main()
