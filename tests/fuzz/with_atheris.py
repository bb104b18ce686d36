"""Search for inputs that do harm by code coverage, with atheris (Linux only; not a dependency of this project).

    pip install atheris
    python -m tests.fuzz.with_atheris image -max_total_time=600

The first argument is a kind of input of `python -m tests.fuzz`; the rest goes to libFuzzer. An input that does harm
ends the search and is saved in the current folder as crash-<sum>. Pass this file as the last argument to run it again.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wbcstudy"]):
    from tests.fuzz import mutations, runner
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Feed the inputs that libFuzzer generates."""
    kind, *options = sys.argv[1:] or ["-help=1"]
    if kind not in TARGETS:
        raise SystemExit(f"{__doc__}\nKinds: {', '.join(TARGETS)}")
    folder = Path(tempfile.mkdtemp(prefix="atheris-"))
    sandbox, corpus = runner.Sandbox(folder / "work"), folder / "corpus"
    corpus.mkdir()
    for k in range(100):
        examples = TARGETS[kind].examples()
        (corpus / str(k)).write_bytes(
            examples[k] if k < len(examples) else mutations.mutate(kind, random.Random(k), examples)[1]
        )

    def feed_one(data: bytes) -> None:
        outcome, message = runner.feed(sandbox, TARGETS[kind], data)
        if outcome == "HARM":
            raise RuntimeError(message)

    replayed = [option for option in options if not option.startswith("-")]
    atheris.Setup([sys.argv[0], *options, *([] if replayed else [str(corpus)])], feed_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
