# The study's table of contents. `wbcstudy run params/X.yaml` prepares the run folders, calls Snakemake with
# `--directory outputs/X`, and shows the progress. All paths below are relative to that folder.
#
#   dataset   notebooks/1_dataset   Figure 1 and the counts
#   train     notebooks/2_train     one papermill call per (encoder, loss, start, fold, seed)
#   baseline  notebooks/3_baseline  one papermill call per (earlier method, fold)
#   transfer  (no notebook)         scores of each finished network on each dataset under `also_score`
#   summary   notebooks/4_summary   Tables 1-3, Figure 2, the report
#
# The output of a rule is the file that its notebook writes last, so unfinished work never counts as finished.
# A failed training writes a run.json with its error. The others continue, and the report shows the failure.
import os
import shlex
import sys
from pathlib import Path

from wbcstudy.study.slurm import read_needs

ROOT = Path(workflow.basedir)
RUNS = Path("selected_runs.txt").read_text(encoding="utf-8").split()
BASELINES = Path("selected_baselines.txt").read_text(encoding="utf-8").split()
TRANSFERS = Path("selected_transfers.txt").read_text(encoding="utf-8").split()
# The Python that runs Snakemake, since the PATH of a cluster node may name another one.
PYTHON = shlex.quote(sys.executable)
WBCSTUDY = f"{PYTHON} -m wbcstudy.cli"
# Notebook, executed notebook, parameters, page, folder: papermill and nbconvert in one process.
PAPERMILL = f"{WBCSTUDY} papermill"
# On a cluster (`--executor slurm`), the profile lists the resources of a training by encoder.
PROFILE = os.environ.get("WBCSTUDY_PROFILE")
NEEDS = read_needs(Path(PROFILE)) if PROFILE else {}
if PROFILE:
    # As many threads as the job has cores.
    shell.prefix(
        "export WBCSTUDY_THREADS=${{SLURM_CPUS_PER_TASK:-1}} OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}} "
        "OPENBLAS_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}; "
    )


def need(run, resource, default):
    """Return a resource of a run's training, from the profile's encoders.yaml."""
    return (NEEDS.get("default", {}) | NEEDS.get(run.split("__")[0], {})).get(resource, default)


def checked_dataset(record):
    """Return dataset.json, since unreadable images should stop a study before its first training.

    A finished run needs no input. Otherwise Snakemake would repeat it whenever dataset.json is missing, even with
    `ancient`, which only ignores file times.
    """
    return [] if Path(record).exists() else ancient("dataset.json")


# Seed of each run, in the order of the study.
SEEDS = list(dict.fromkeys(run.rpartition("__seed")[2] for run in RUNS))


def seed_priority(wildcards):
    """Return a higher number for an earlier seed: all methods of one seed are trained before the next seed.

    A study that is stopped, or moved to another machine, then has whole blocks: machine and precision do not depend on
    the encoder.
    """
    return len(SEEDS) - SEEDS.index(wildcards.run.rpartition("__seed")[2])


FINISHED = expand("runs/{run}/run.json", run=RUNS) + expand("baselines/{method}/run.json", method=BASELINES)
FINISHED += expand("{transfer}/run.json", transfer=TRANSFERS)


wildcard_constraints:
    run="[^/]+",
    method="[^/]+",
    other="[^/]+",


rule all:
    input:
        # Listed here too: Snakemake does not notice a missing input of an existing report.
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
        "{PAPERMILL} {params.root:q}/notebooks/1_dataset.ipynb dataset.ipynb dataset_params.yaml dataset.html "
        "{params.root:q} > {log} 2>&1"


# A page that cannot be written must not fail the training: `mark-failed` leaves a finished run alone.
rule train:
    input:
        lambda wildcards: checked_dataset(f"runs/{wildcards.run}/run.json"),
    output:
        "runs/{run}/run.json",
    log:
        "logs/{run}.log",
    # Retry if papermill itself was killed. The training resumes after its last saved epoch.
    retries: 1
    priority: seed_priority
    threads: lambda wildcards: need(wildcards.run, "cpus", 1)
    resources:
        mem_mb=lambda wildcards: need(wildcards.run, "mem_mb", 8000),
        runtime=lambda wildcards: need(wildcards.run, "runtime", 240),
        gpu=lambda wildcards: need(wildcards.run, "gpu", 0),
    params:
        root=ROOT,
    shell:
        "{PAPERMILL} {params.root:q}/notebooks/2_train.ipynb runs/{wildcards.run}/train.ipynb "
        "runs/{wildcards.run}/params.yaml runs/{wildcards.run}/train.html {params.root:q} > {log} 2>&1 || "
        "{{ {WBCSTUDY} mark-failed runs/{wildcards.run} >> {log} 2>&1 && {{ {WBCSTUDY} page "
        "runs/{wildcards.run}/train.ipynb runs/{wildcards.run}/train.html >> {log} 2>&1 || true; }}; }}"


rule baseline:
    input:
        lambda wildcards: checked_dataset(f"baselines/{wildcards.method}/run.json"),
    output:
        "baselines/{method}/run.json",
    log:
        "logs/{method}.log",
    params:
        root=ROOT,
    shell:
        "{PAPERMILL} {params.root:q}/notebooks/3_baseline.ipynb baselines/{wildcards.method}/baseline.ipynb "
        "baselines/{wildcards.method}/params.yaml baselines/{wildcards.method}/baseline.html {params.root:q} "
        "> {log} 2>&1 || "
        "{{ {WBCSTUDY} mark-failed baselines/{wildcards.method} >> {log} 2>&1 && {{ {WBCSTUDY} page "
        "baselines/{wildcards.method}/baseline.ipynb baselines/{wildcards.method}/baseline.html >> {log} 2>&1 "
        "|| true; }}; }}"


# After adding a dataset to a finished study, only the missing scores are computed.
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
    # Not the report itself: Snakemake would delete the previous report before building the new one.
    output:
        touch("logs/summary.done"),
    log:
        "logs/summary.log",
    params:
        root=ROOT,
    shell:
        "{PAPERMILL} {params.root:q}/notebooks/4_summary.ipynb summary.ipynb summary_params.yaml summary.html "
        "{params.root:q} --no-save-cells > {log} 2>&1"
