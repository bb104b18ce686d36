"""Look for inputs that do harm by the code that they reach, with atheris (Linux; no dependency of this project).

    pip install atheris
    python scripts/fuzz_with_atheris.py image -max_total_time=600

The first word is a kind of input of `fuzz_inputs.py`, what follows goes to libFuzzer. An input that does harm ends the
search and is left in the current folder as crash-<sum>; give it to the same command as a last word to see it again.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wbcstudy"]):
    import fuzz_inputs
    import fuzz_mutations
    from fuzz_targets import TARGETS


def main() -> None:
    """Feed what libFuzzer makes up."""
    kind, *words = sys.argv[1:] or ["-help=1"]
    if kind not in TARGETS:
        raise SystemExit(f"{__doc__}\nKinds: {', '.join(TARGETS)}")
    place = Path(tempfile.mkdtemp(prefix="atheris-"))
    sandbox, seeds = fuzz_inputs.Sandbox(place / "work"), place / "seeds"
    seeds.mkdir()
    for k in range(100):
        examples = TARGETS[kind].examples()
        (seeds / str(k)).write_bytes(
            examples[k] if k < len(examples) else fuzz_mutations.bend(kind, random.Random(k), examples)[1]
        )

    def one(data: bytes) -> None:
        outcome, said = fuzz_inputs.feed(sandbox, TARGETS[kind], data)
        if outcome == "HARM":
            raise RuntimeError(said)

    replay = [word for word in words if not word.startswith("-")]
    atheris.Setup([sys.argv[0], *words, *([] if replay else [str(seeds)])], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
