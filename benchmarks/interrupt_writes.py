"""Kill a process while it writes a study's files, start it again, and check that nothing is lost or left behind.

    python benchmarks/interrupt_writes.py

Ten kills (SIGKILL) in the writing of split.json, run.json, an exported network and the environment of a study's
programs: with half of a file written, before and after the file gets its name. The next start must write what an
undisturbed process writes, and delete the temporary files. tests/benchmarks/test_interrupt_writes.py runs four of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Python code that kills the process at one moment.
MOMENTS = {
    "half": "def cut(path, text, *args, **more):\n"
    "    file = open(path, 'w'); file.write(text[:len(text) // 2]); file.flush(); die()\n"
    "Path.write_text = cut",
    "before": "os.replace = os.link = lambda *args, **more: die()",
    "after": "replace, link = os.replace, os.link\n"
    "os.replace = lambda *args, **more: (replace(*args, **more), die())\n"
    "os.link = lambda *args, **more: (link(*args, **more), die())",
}
# Python code that writes into the folder `out`; `given` holds images and a finished run.
PHASES = {
    "split": "from wbcstudy.config import StudyConfig; from wbcstudy.data.datasets import load_dataset\n"
    "from wbcstudy.data.splits import load_or_make_splits\n"
    "load_or_make_splits(out / 'split.json', load_dataset(given / 'cells'), StudyConfig())",
    "run": "from wbcstudy.runs.folders import RunFolder; from wbcstudy.runs.results import write_record\n"
    "(out / 'history.csv').write_bytes(b'epoch\\n1\\n')\n"
    "write_record(RunFolder(out), {'status': 'failed', 'error': 'x'})",
    "environment": "from wbcstudy.study.environment import child_environment\nchild_environment(out)",
    "export": "from wbcstudy.inference.export import export_network\n"
    "if not (out / 'network.keras').exists():\n"
    "    export_network(next((given / 'outputs').glob('*/runs/*')), 'keras', out / 'network.keras')",
}
KILLS = [(phase, moment) for phase in ("split", "run", "environment") for moment in MOMENTS] + [("export", "before")]


def start(phase: str, given: Path, out: Path, moment: str | None = None) -> int:
    """Write a phase's files in a new process; return its exit code."""
    code = "import os, sys; from pathlib import Path; given, out = map(Path, sys.argv[1:])\n"
    code += "def die(): os.kill(os.getpid(), 9)\n"
    # After the imports, which may write bytecode.
    imports, _, rest = PHASES[phase].rpartition("import ")
    name, _, action = rest.partition("\n")
    code += f"{imports}import {name}\n{MOMENTS.get(moment, '')}\n{action}"
    return subprocess.run([sys.executable, "-c", code, str(given), str(out)], check=False).returncode


def read(folder: Path) -> dict[str, object]:
    """Return name -> content of all files; the size of a network, and of a record what does not depend on the time."""
    contents: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name == "run.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            contents[name] = [record["status"], record["error"], record["files"]]
        else:
            contents[name] = path.stat().st_size if path.suffix == ".keras" else path.read_bytes()
    return contents


def interrupt(phase: str, moment: str, given: Path, folder: Path) -> list[str]:
    """Kill one phase at one moment and start it again; return what differs from an undisturbed process."""
    killed, undisturbed = folder / "killed", folder / "undisturbed"
    for out in (killed, undisturbed):
        out.mkdir(parents=True)
    if code := start(phase, given, undisturbed):
        return [f"exit code {code} without a kill"]
    if (code := start(phase, given, killed, moment)) != -9:
        return [f"exit code {code} instead of a kill"]
    if code := start(phase, given, killed):
        return [f"exit code {code} of the next start"]
    after, expected = read(killed), read(undisturbed)
    return [name for name in after.keys() | expected.keys() if after.get(name) != expected.get(name)]


def main() -> None:
    """Do all kills; exit with 1 if one of them changed a result or left a file."""
    from tests.helpers.colour_run import write_colour_run
    from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

    bad = 0
    with tempfile.TemporaryDirectory() as name:
        given = Path(name) / "given"
        write_synthetic_dataset(given / "cells", cases=15, seed=3, size_px=32, slides=5)
        write_colour_run(given / "outputs", "demo", size=32)
        for phase, moment in KILLS:
            differences = interrupt(phase, moment, given, Path(name) / f"{phase}-{moment}")
            bad += bool(differences)
            print(f"{phase:12}{moment:8}{', '.join(differences) or 'nothing lost, nothing left'}", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(Path(__file__).parents[1]))
    main()
