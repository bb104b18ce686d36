# The four commands: make study, make test, make lab, make help.
SHELL := /bin/bash
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The first of these with a supported version. To use another one: make env PYTHON=/path/to/python3.12
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
  "$$name" -c '$(SUPPORTED)' >/dev/null 2>&1 && { echo "$$name"; break; }; done)
BIN := .venv/bin
STUDY ?= params/demo.yaml
# Number of parallel trainings; auto fits the machine.
JOBS ?= auto
# More options for `make lab` and `make app`, for example OPTIONS='--no-browser --port=9000'.
OPTIONS ?=

# The user's settings of Python, Jupyter, Keras and other programs are for other work.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT JUPYTER_PATH JUPYTER_CONFIG_DIR IPYTHONDIR
unexport SNAKEMAKE_PROFILE KERAS_BACKEND TF_USE_LEGACY_KERAS MPLBACKEND
# Where there is no home folder to write to (containers, some cluster nodes), programs write to build/home.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/build/home
endif

.DEFAULT_GOAL := help
.PHONY: help env study test lab app lint docs lock licences results clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: .venv/.installed  ## Install the pinned dependencies into a virtual environment, .venv

.venv/.installed: requirements.lock pyproject.toml
	@if [ -z '$(PYTHON)' ] && command -v uv >/dev/null; then \
	  uv venv --quiet --seed --clear --python 3.12 .venv; \
	elif ! '$(PYTHON)' -c '$(SUPPORTED)' 2>/dev/null; then \
	  echo "wbcstudy needs Python 3.11, 3.12 or 3.13. Found: $$('$(or $(PYTHON),python3)' --version 2>&1 || true)"; \
	  echo "Install uv with this line, then run this again; uv fetches a Python:"; \
	  echo "  curl -LsSf https://astral.sh/uv/install.sh | sh"; \
	  echo "To use a Python that is not on the PATH: make env PYTHON=/path/to/python3.12"; exit 2; \
	elif ! '$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "This Python has no venv module. On Debian and Ubuntu: sudo apt install python3-venv"; exit 2; \
	else '$(PYTHON)' -m venv .venv; fi
	@echo "Installing the pinned dependencies into .venv (about 3 GB, takes a few minutes) ..."
	@# A few dependencies are built from source: with the pinned setuptools, not with the newest.
	@awk '/^setuptools==/ {on = 1} on {print} !/\\$$/ {on = 0}' requirements.lock > .venv/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

study: env  ## Run the demo study, or another one: make study STUDY=params/other.yaml
	@$(BIN)/wbcstudy run $(STUDY) --jobs $(JOBS)

test: env  ## Run all tests
	@$(BIN)/python -m pytest

lab: env  ## Open JupyterLab with a start page and copies of the notebooks, in my_notebooks/
	@WBCSTUDY_ROOT='$(CURDIR)' $(BIN)/wbcstudy lab $(OPTIONS)

app: env  ## Explore studies and segment your own images in the browser
	@WBCSTUDY_ROOT='$(CURDIR)' $(BIN)/wbcstudy app $(OPTIONS)

lint: env  ## Check style, words and dependencies: ruff, deptry, the word list of CONTRIBUTING.md
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/deptry . && $(BIN)/python -m pytest -q tests/test_style.py -k "english or names"

docs: env  ## Build the documentation into build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet && echo "Open build/docs/index.html"

lock: env  ## Pin the newest versions of the dependencies in requirements.lock (needs `uv`)
	@uv pip compile pyproject.toml --extra test --extra docs --extra export --extra slurm --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --upgrade -o requirements.lock

licences: env  ## Write docs/licences.csv, and check that all licences are compatible with MIT
	@$(BIN)/python scripts/list_licences.py

results: env  ## Write the tables of docs/results.md from outputs/reference/
	@$(BIN)/python scripts/write_results.py

clean:  ## Delete the environment and caches, but no results
	@rm -rf .venv .pytest_cache .ruff_cache build *.egg-info
