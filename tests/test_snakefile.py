"""The rules that Snakemake would run, from a dry run."""

import json
import os
import re
import subprocess
import sys

from tests.helpers.checkout import ROOT


def dry_run(folder) -> str:
    """The output of a dry run in a study's folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--dry-run", "--cores", "1", "--rerun-triggers", "mtime", "--nocolor", "--ignore-incomplete"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_finished_run_is_not_repeated_when_dataset_json_is_missing(tmp_path):
    (tmp_path / "selected_runs.txt").write_text("done\nwaiting\n")
    (tmp_path / "selected_baselines.txt").write_text("method\n")
    (tmp_path / "selected_transfers.txt").write_text("")
    for run in ("runs/done", "baselines/method"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").write_text(json.dumps({"status": "complete"}))
    output = dry_run(tmp_path)
    assert "rule dataset" in output and "rule summary" in output
    assert "output: runs/waiting/run.json" in output
    assert "output: runs/done/run.json" not in output
    assert "rule baseline" not in output


def test_all_runs_of_one_seed_come_before_the_next_seed(tmp_path):
    runs = [f"{method}__fold0__seed{seed}" for method in ("a", "b", "c", "d") for seed in (7, 0, 3)]
    (tmp_path / "selected_runs.txt").write_text("".join(f"{run}\n" for run in runs))
    for name in ("selected_baselines.txt", "selected_transfers.txt"):
        (tmp_path / name).write_text("")
    output = dry_run(tmp_path)
    order = re.findall(r"output: runs/\w+__seed(\d)/run\.json(?:\n +.*)*?\n +priority: (\d)", output)
    priorities = {seed: priority for seed, priority in order}
    assert len(order) == len(runs) and priorities == {"7": "3", "0": "2", "3": "1"}
