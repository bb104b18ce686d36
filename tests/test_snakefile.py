"""The plan of a grid: what Snakemake would do, without doing it."""

import json
import os
import subprocess
import sys

from tests.helpers.checkout import ROOT


def planned(folder) -> str:
    """What a dry run in a study's folder says."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--dry-run", "--cores", "1", "--rerun-triggers", "mtime", "--nocolor", "--ignore-incomplete"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_finished_run_is_not_made_again_because_facts_about_the_images_were_lost(tmp_path):
    (tmp_path / "selected_runs.txt").write_text("done\nwaiting\n")
    (tmp_path / "selected_baselines.txt").write_text("method\n")
    (tmp_path / "selected_transfers.txt").write_text("")
    for run in ("runs/done", "baselines/method"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").write_text(json.dumps({"status": "complete"}))
    told = planned(tmp_path)
    assert "rule dataset" in told and "rule summary" in told
    assert "output: runs/waiting/run.json" in told
    assert "output: runs/done/run.json" not in told
    assert "rule baseline" not in told
