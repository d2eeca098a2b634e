# The front door: every task a person runs is a target here. `make` lists them.
SHELL := /bin/bash
# GNU make 3.81, which macOS has, knows no .SHELLFLAGS: a recipe that needs more than the status of its last command
# says so itself.
STRICT := set -eo pipefail;
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# What Python compiles is kept, also where the environment forbids it, as in many containers: setup compiles nothing,
# and each run would compile torch and timm anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup reproduce bench test test-slow test-scale test-chaos test-slurm test-colab test-lowest test-others book check-book lab plan doctor lint lock clean distclean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

# Without --no-compile every module of every package is compiled, most of which are never used: a minute and more.
setup: $(VENV)/.installed  ## Make the virtual environment .venv with every pinned package

$(VENV)/.installed: requirements.lock requirements-no-deps.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "Installing into $(VENV).$(if $(PIP_EXTRA_INDEX_URL),, On Linux the CUDA libraries of torch are most of it, gigabytes. To leave them out, stop this and type:)"
	@echo "$(if $(PIP_EXTRA_INDEX_URL),,  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup)"
# An environment without pip is one whose making was interrupted, or lacked a package of the system (python3-venv).
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(STRICT) $(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar off -r requirements.lock \
	  | { grep --line-buffered -E '^ *Downloading .*\([0-9]{2,}[0-9.]* [MG]B\)|^Installing|ERROR' | cut -c1-100 || true; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r requirements-no-deps.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
	@echo "Done. To have the command pepr in this shell: source $(BIN)/activate"

# CLUSTER=slurm, or the folder of a Snakemake profile of your own, hands the runs to a cluster.
# MODELS= SETTINGS= SEEDS= (lists with commas), EPOCHS=, PRETRAINED=yes|no and FIDELITY=study|paper take a part
# of a profile or change it.
SUBSET = $(foreach flag,MODELS SETTINGS SEEDS EPOCHS PRETRAINED FIDELITY,$(if $($(flag)),--$(call lower,$(flag)) $(call quoted,$($(flag)))))
lower = $(shell echo $(1) | tr A-Z a-z)
# What a person names reaches the command as it is, whatever the shell would make of it.
quoted = '$(subst ','\'',$(1))'

reproduce: setup  ## Run the study and build its book. PROFILE=smoke|pocket|..., RETRY=failed|contended, RUNS=1, MODELS=a,b ...
	@pepr reproduce $(if $(PROFILE),--profile $(call quoted,$(PROFILE))) $(if $(RETRY),--retry $(call quoted,$(RETRY))) $(if $(CLUSTER),--cluster $(call quoted,$(CLUSTER))) $(if $(RUNS),--runs $(call quoted,$(RUNS))) $(SUBSET)

# One thread a worker, which tests/conftest.py keeps on one core.
test: setup  ## Run the tests, in minutes; TESTS=tests/test_score.py runs some
	@OMP_NUM_THREADS=1 python -m pytest -q -m "$(if $(TESTS),,not slow and) not scale and not alone and not chaos and not slurm" -n logical --dist loadfile $(TESTS)
	@$(if $(TESTS),,python -m pytest -q -m alone)

test-slow: setup  ## Run the tests of whole notebooks and studies, and of pages in a browser
	@OMP_NUM_THREADS=1 python -m pytest -q -m slow -n logical --dist loadfile

test-scale: setup  ## Run the tests of scale: a million rows, 300 MB, all architectures, twenty seeds, the kit for a GPU
	@OMP_NUM_THREADS=1 python -m pytest -q -m scale -n logical

test-chaos: setup  ## Kill, fill, cut and hang a study: nothing is lost, nothing counted twice
	@OMP_NUM_THREADS=1 python -m pytest -q -m chaos -n logical --dist worksteal

test-slurm: setup  ## Run a study on a Slurm cluster made on this machine, and lose a node of it (root, Debian)
	@python -m pytest -q -m slurm

test-colab: setup  ## Install the package into Colab's two runtimes as a notebook does, and run notebooks and tests there
	@python -m tests.runtimes colab-3.13 colab-3.12

test-lowest: setup  ## The same with the lowest versions that pyproject.toml allows
	@python -m tests.runtimes lowest

test-others: setup  ## Lightning and Hugging Face under the meter, cards by their formats' validators, in an environment of their own
	@python -m tests.runtimes others

bench: setup  ## Measure the study's own speed against its limits, about a quarter of an hour
	@python -m benchmarks

book: setup  ## Build the book from this machine's results, else from the shipped reference
	@pepr book

check-book: setup  ## Build the book and check every page in Chromium: links, numbers, accessibility, weight
	@pepr book
	@python -m pepr.book.browser

lab: setup  ## Open JupyterLab on the notebooks
	@jupyter lab notebooks

plan: setup  ## Forecast a profile: PROFILE=..., and the same flags
	@pepr plan $(if $(PROFILE),--profile $(call quoted,$(PROFILE))) $(SUBSET)

doctor: setup  ## What this machine can do, what it lacks, what to do about it
	@pepr doctor

lint: setup  ## Check style, formatting, and that imports go one way
	@ruff check . && ruff format --check . && lint-imports

# torch pins its own CUDA packages exactly, so they stay out of the lock: it then also serves machines
# and indexes with a CPU build.
lock: $(VENV)/.installed  ## Pin what pyproject.toml needs, keeping the pins there are; UPGRADE=yes renews every one
	@python -m pip install --quiet pip-tools
	@cp requirements.lock requirements.new
	@pip-compile --quiet $(if $(UPGRADE),--upgrade) --strip-extras --annotation-style=line --no-header --no-emit-index-url \
	  --no-emit-find-links --extra pocket --extra study --extra cluster --extra test --extra check --output-file requirements.new pyproject.toml
	@$(STRICT) { echo "# Every pin of the study's environment. Made by \`make lock\` from pyproject.toml."; \
	  grep -vE '^(nvidia-[^m]|triton|cuda-)' requirements.new; } > requirements.lock; rm requirements.new

clean:  ## Remove what was built; keep results and the environment
	rm -rf _build dist build *.egg-info .pytest_cache .hypothesis .ruff_cache

distclean: clean  ## Remove results and the environment too
	rm -rf results $(VENV)
