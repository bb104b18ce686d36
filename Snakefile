# The study's table of contents. `wbcstudy run params/X.yaml` prepares the run folders, calls Snakemake with
# `--directory outputs/X`, and shows the progress; every path below is relative to that folder.
#
#   dataset   notebooks/1_dataset   Figure 1 and the counts
#   train     notebooks/2_train     one papermill call per (encoder, loss, fold, seed)
#   baseline  notebooks/3_baseline  the same for each (earlier method, fold)
#   transfer  (no notebook)         each finished network's scores on each dataset under `also_score`
#   summary   notebooks/4_summary   Tables 1-3, Figure 2, the report
#
# A rule's output is the one file that its notebook writes last, so what lies half-done is never taken for finished.
# A training that fails leaves a run.json that says so: the others go on, and the report shows the failure.
import os
import shlex
import sys
from pathlib import Path

from wbcstudy.study.slurm import read_needs

ROOT = Path(workflow.basedir)
RUNS = Path("selected_runs.txt").read_text(encoding="utf-8").split()
BASELINES = Path("selected_baselines.txt").read_text(encoding="utf-8").split()
TRANSFERS = Path("selected_transfers.txt").read_text(encoding="utf-8").split()
# This Python and its packages, whatever the PATH of a cluster node says.
PYTHON = shlex.quote(sys.executable)
WBCSTUDY = f"{PYTHON} -m wbcstudy.cli"
PAPERMILL = (
    f"{PYTHON} -m papermill --kernel python3 --log-output --no-progress-bar --cwd {shlex.quote(str(ROOT))}"
)
# On a cluster (`--executor slurm`), the profile says what a training of each encoder needs of a node.
PROFILE = os.environ.get("WBCSTUDY_PROFILE")
NEEDS = read_needs(Path(PROFILE)) if PROFILE else {}
if PROFILE:
    # As many threads as the job was given cores, wherever it runs.
    shell.prefix(
        "export WBCSTUDY_THREADS=${{SLURM_CPUS_PER_TASK:-1}} OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}} "
        "OPENBLAS_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}; "
    )


def need(run, what, otherwise):
    """What a run's training asks for, from the profile's encoders.yaml."""
    return (NEEDS.get("default", {}) | NEEDS.get(run.split("__")[0], {})).get(what, otherwise)


def look_at_images_before(record):
    """What a run waits for: images that cannot be read should stop a study before its first training.

    Nothing for a finished run: Snakemake would make it again after a lost dataset.json was, and `ancient`, which is
    about times, does not keep it from that.
    """
    return [] if Path(record).exists() else ancient("dataset.json")


FINISHED = expand("runs/{run}/run.json", run=RUNS) + expand("baselines/{method}/run.json", method=BASELINES)
FINISHED += expand("{place}/run.json", place=TRANSFERS)


wildcard_constraints:
    run="[^/]+",
    method="[^/]+",
    other="[^/]+",


rule all:
    input:
        # Named here too: Snakemake does not miss a file that only an existing report was made from.
        FINISHED,
        "logs/summary.done",


rule dataset:
    output:
        "dataset.json",
    log:
        "logs/dataset.log",
    params:
        root=ROOT,
    shell:
        "{PAPERMILL} {params.root:q}/notebooks/1_dataset.ipynb dataset.ipynb "
        "-f dataset_params.yaml > {log} 2>&1 && "
        "{WBCSTUDY} page dataset.ipynb dataset.html >> {log} 2>&1"


# A page that cannot be written is no reason to lose a training: hence `|| true` below.
rule train:
    input:
        lambda wildcards: look_at_images_before(f"runs/{wildcards.run}/run.json"),
    output:
        "runs/{run}/run.json",
    log:
        "logs/{run}.log",
    # Once more where papermill itself was killed: the training goes on from its last finished epoch.
    retries: 1
    threads: lambda wildcards: need(wildcards.run, "cpus", 1)
    resources:
        mem_mb=lambda wildcards: need(wildcards.run, "mem_mb", 8000),
        runtime=lambda wildcards: need(wildcards.run, "runtime", 240),
        gpu=lambda wildcards: need(wildcards.run, "gpu", 0),
    params:
        root=ROOT,
    shell:
        "{{ {PAPERMILL} {params.root:q}/notebooks/2_train.ipynb runs/{wildcards.run}/train.ipynb "
        "-f runs/{wildcards.run}/params.yaml || {WBCSTUDY} mark-failed runs/{wildcards.run}; }} > {log} 2>&1 && "
        "{{ {WBCSTUDY} page runs/{wildcards.run}/train.ipynb runs/{wildcards.run}/train.html >> {log} 2>&1 || true; }}"


rule baseline:
    input:
        lambda wildcards: look_at_images_before(f"baselines/{wildcards.method}/run.json"),
    output:
        "baselines/{method}/run.json",
    log:
        "logs/{method}.log",
    params:
        root=ROOT,
    shell:
        "{{ {PAPERMILL} {params.root:q}/notebooks/3_baseline.ipynb baselines/{wildcards.method}/baseline.ipynb "
        "-f baselines/{wildcards.method}/params.yaml || {WBCSTUDY} mark-failed baselines/{wildcards.method}; }} "
        "> {log} 2>&1 && "
        "{{ {WBCSTUDY} page baselines/{wildcards.method}/baseline.ipynb baselines/{wildcards.method}/baseline.html "
        ">> {log} 2>&1 || true; }}"


# Adding a dataset to a finished study trains nothing again: only what is missing is scored.
rule transfer:
    input:
        "runs/{run}/run.json",
    output:
        "runs/{run}/transfer/{other}/run.json",
    log:
        "logs/{run}__on__{other}.log",
    retries: 1
    shell:
        "{WBCSTUDY} score-on-dataset runs/{wildcards.run} {wildcards.other} > {log} 2>&1"


rule summary:
    input:
        "dataset.json",
        FINISHED,
    # Not the report itself: a report that cannot be built leaves the earlier one where it is.
    output:
        touch("logs/summary.done"),
    log:
        "logs/summary.log",
    params:
        root=ROOT,
    shell:
        "{PAPERMILL} {params.root:q}/notebooks/4_summary.ipynb summary.ipynb "
        "-f summary_params.yaml > {log} 2>&1 && "
        "{WBCSTUDY} page summary.ipynb summary.html >> {log} 2>&1"
