"""Submitting a study's notebooks to SLURM: Snakemake's slurm executor, a profile, and jobs that are left over."""

from __future__ import annotations

import getpass
import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from wbcstudy.errors import StudyError
from wbcstudy.files import project_root
from wbcstudy.runs.folders import StudyFolder

PLUGIN = "snakemake_executor_plugin_slurm"
# What a training may ask for, and in what, in encoders.yaml.
NEEDS = ("mem_mb", "runtime", "cpus", "gpu")


def check_slurm(profile: Path | None) -> Path:
    """The profile's folder, once everything is there that submitting needs.

    Args:
        profile: a folder with config.yaml, and encoders.yaml if need be; `profiles/slurm` if None.

    Raises:
        StudyError: no such profile, or one that cannot be read; SLURM's commands or Snakemake's plugin are missing.
    """
    profile = (profile or project_root() / "profiles" / "slurm").resolve()
    if not (profile / "config.yaml").is_file():
        raise StudyError(
            f"There is no {profile / 'config.yaml'}.",
            expected="--profile with a folder that holds config.yaml, such as profiles/slurm",
            fix="Copy profiles/slurm, put your partitions into it, and pass the copy.",
        )
    for name in ("config.yaml", "encoders.yaml"):
        _read(profile / name)
    read_needs(profile)
    missing = [command for command in ("sbatch", "squeue", "scancel") if not shutil.which(command)]
    if missing:
        raise StudyError(
            f"--executor slurm needs SLURM's command {missing[0]}, which is not on this machine's PATH.",
            expected="a node from which jobs are submitted (a login node)",
            fix="Log in there, or run without --executor.",
        )
    if importlib.util.find_spec(PLUGIN) is None:
        raise StudyError(
            "--executor slurm needs Snakemake's slurm executor, which is not installed.",
            expected="the package snakemake-executor-plugin-slurm",
            fix=".venv/bin/pip install snakemake-executor-plugin-slurm",
        )
    return profile


def read_needs(profile: Path) -> dict[str, dict[str, int]]:
    """Encoder (or "default") -> what a training of it asks for: whole numbers under some of `NEEDS`.

    Raises:
        StudyError: the file says something else.
    """
    path = profile / "encoders.yaml"
    needs = _read(path)
    for encoder, asked in needs.items():
        wrong = asked if not isinstance(asked, dict) else {k: v for k, v in asked.items() if not _is_need(k, v)}
        if wrong or not isinstance(asked, dict):
            raise StudyError(
                f"{path}: {encoder} asks for {wrong!r}.",
                expected=f"whole numbers under {', '.join(NEEDS)}",
                fix="See profiles/slurm/encoders.yaml.",
            )
    return needs


def job_prefix(folder: StudyFolder) -> str:
    """What the names of a study's jobs begin with; another study's, also one of the same name elsewhere, do not."""
    place = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:8]
    return f"wbc-{re.sub(r'[^A-Za-z0-9_-]', '-', folder.name)[:30]}-{place}"


def cancel_left_over(folder: StudyFolder) -> int:
    """Cancel the jobs of an earlier call that was killed before it could; returns how many there were."""
    told = _call("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%A %j").splitlines()
    jobs = [
        line.split()[0] for line in told if " " in line and line.split(maxsplit=1)[1].startswith(job_prefix(folder))
    ]
    if jobs:
        _call("scancel", *jobs)
    return len(jobs)


def _call(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(words, 1, "", "no answer within a minute")
    if done.returncode:
        raise StudyError(
            f"SLURM does not answer: {words[0]}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
            expected="a cluster that runs",
            fix="Try `sinfo`, and ask the cluster's operators if it fails too.",
        )
    return done.stdout


def _is_need(name: object, value: object) -> bool:
    return name in NEEDS and isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(f"{path} cannot be read: {error}", expected="YAML", fix="See profiles/slurm/.") from None
    if not isinstance(found, dict):
        raise StudyError(f"{path} holds no settings.", expected="lines of `name: value`", fix="See profiles/slurm/.")
    return found
