"""Submit a study's notebooks to SLURM: check the profile and the commands, and cancel jobs left over."""

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
from wbcstudy.files import project_root, read_bytes
from wbcstudy.runs.folders import StudyFolder

_PLUGIN = "snakemake_executor_plugin_slurm"
# Resources that encoders.yaml can request for a training.
NEEDS = ("mem_mb", "runtime", "cpus", "gpu")


def check_slurm(profile: Path | None) -> Path:
    """Check everything that submitting jobs needs and return the profile's folder.

    Args:
        profile: folder with config.yaml and, optionally, encoders.yaml; `profiles/slurm` if None.

    Raises:
        StudyError: the profile is missing or unreadable, or SLURM's commands or Snakemake's plugin are missing.
    """
    profile = (profile or project_root() / "profiles" / "slurm").resolve()
    if not (profile / "config.yaml").is_file():
        raise StudyError(
            f"There is no {profile / 'config.yaml'}.",
            expected="--profile FOLDER, where FOLDER contains config.yaml, like profiles/slurm",
            fix="Copy profiles/slurm, enter the names of your partitions, and pass the copy.",
        )
    for name in ("config.yaml", "encoders.yaml"):
        _read(profile / name)
    read_needs(profile)
    missing = [command for command in ("sbatch", "squeue", "scancel") if not shutil.which(command)]
    if missing:
        raise StudyError(
            f"--executor slurm needs the SLURM command {missing[0]}, which is not on the PATH.",
            expected="a login node of the cluster, where jobs can be submitted",
            fix="Log in to that node, or run without --executor.",
        )
    if importlib.util.find_spec(_PLUGIN) is None:
        raise StudyError(
            "--executor slurm needs Snakemake's SLURM plugin, which is not installed.",
            expected="the package snakemake-executor-plugin-slurm",
            fix=".venv/bin/pip install snakemake-executor-plugin-slurm",
        )
    return profile


def read_needs(profile: Path) -> dict[str, dict[str, int]]:
    """Read encoders.yaml: encoder (or "default") -> resources of a training, whole numbers under some of `NEEDS`.

    Raises:
        StudyError: the file has other contents.
    """
    path = profile / "encoders.yaml"
    needs = _read(path)
    for encoder, resources in needs.items():
        wrong = resources
        if isinstance(resources, dict):
            wrong = {name: value for name, value in resources.items() if not _is_need(name, value)}
        if wrong or not isinstance(resources, dict):
            raise StudyError(
                f"{path}: {encoder} requests {wrong!r}.",
                expected=f"whole numbers under {', '.join(NEEDS)}",
                fix="See profiles/slurm/encoders.yaml.",
            )
    return needs


def job_prefix(folder: StudyFolder) -> str:
    """Return the prefix of a study's job names. It differs for studies of the same name in other folders."""
    path_hash = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:8]
    return f"wbc-{re.sub(r'[^A-Za-z0-9_-]', '-', folder.name)[:30]}-{path_hash}"


def cancel_left_over(folder: StudyFolder) -> int:
    """Cancel the jobs of an earlier call that was killed before it could do so. Returns the number of jobs."""
    queue = _call("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%A %j")
    prefix = re.escape(job_prefix(folder))
    jobs = re.findall(rf"^\s*(\d+) {prefix}", queue, flags=re.MULTILINE)
    if jobs:
        _call("scancel", *jobs)
    return len(jobs)


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, 1, "", "no answer within a minute")
    if done.returncode:
        raise StudyError(
            f"SLURM does not respond. {command[0]}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
            expected="a running cluster",
            fix="Try `sinfo`. If it fails too, ask the cluster's administrators.",
        )
    return done.stdout


def _is_need(name: object, value: object) -> bool:
    return name in NEEDS and isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        settings = yaml.safe_load(read_bytes(path, 1_000_000)) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(f"{path} cannot be read: {error}", expected="YAML", fix="See profiles/slurm/.") from None
    if not isinstance(settings, dict):
        raise StudyError(f"{path} has no settings.", expected="lines of `name: value`", fix="See profiles/slurm/.")
    return settings
