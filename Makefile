# `make` lists the targets. Everything is installed into .venv from the exact versions of constraints.txt.
# PYTHON picks the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
JOBS ?= 2

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(VERSION)
# of other packages, which a user brings; Open MPI itself is installed by the tests, for root on Debian
EXECUTORS := mpi4py ray dask-jobqueue
COMMA := ,

# tests start a thousand processes: what they import is compiled once
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long quick test-cpu test-wheel test-browser test-slurm test-sources test-projects soak pipelines lint bench bench-growth bench-check bench-segmentation check-slice docs clean fuzz test-backends kills test-napari test-contract bench-server

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv and install the package with all it needs

demo: $(STAMP) ## segment a made volume on both cores and evaluate it; results in demo/
	$(BIN)/bioimage-py demo

test: lint ## lint, then the test suite (without test-long), and that of kernels with fewer vector instructions
	$(BIN)/python -m pytest -q -rs -n $(JOBS) --dist=worksteal --ignore=tests/layout
	$(BIN)/python tests/instruction_sets.py

quick: $(STAMP) ## the tests that start no process and no server: few rows of each table, few examples of each property
	$(BIN)/python -m pytest -q -n $(JOBS) --dist=worksteal --quick --ignore=tests/layout

test-long: $(STAMP) ## what make test leaves out: the benchmark's own tests, proofs that take long, all rows and examples
	$(BIN)/python -m pytest -q -rs -n $(JOBS) --dist=worksteal -m "long or many_examples" --all-examples

test-cpu: $(STAMP) ## kernels of libraries as on processors with fewer vector instructions
	$(BIN)/python tests/instruction_sets.py

test-wheel: $(STAMP) ## build the wheel, and take the first steps in empty environments, with it alone and with each extra
	$(BIN)/python -m pytest -q -rs -o python_files='proof_*.py' tests/wheel

test-browser: $(STAMP) ## pages in a real browser: volumes and labels, live runs; root installs Chromium here on Debian
	BIOIMAGE_PY_TEST_BROWSER=1 $(BIN)/python -m pytest -q -rs tests/browser

test-napari: $(STAMP) ## the plugin in a real napari, without a monitor; root installs what that needs here on Debian
	bash tests/napari/run.sh $(BIN)/python $(VENV)/napari

test-slurm: $(STAMP) ## faults on a real SLURM cluster, which root installs and starts here on Debian; one line for each
	$(BIN)/python -m pip install -q -c constraints.txt $(EXECUTORS)
	BIOIMAGE_PY_TEST_SLURM=1 $(BIN)/python -m pytest -q -rs tests/backends/slurm_real

test-backends: $(STAMP) ## every backend through every check of the conformance suite, as the table of docs/backends.md; 30 minutes
	$(BIN)/python -m pip install -q -c constraints.txt $(EXECUTORS)
	$(BIN)/python -m pytest -q -rs -m long -k mpi tests/backends/test_executor.py
	BIOIMAGE_PY_TEST_SLURM=1 $(BIN)/python benchmarks/backends_table.py --write

kills: $(STAMP) ## kill workers of Dask, of pools and of MPI at random instants: KILLS=100 ON=dask
	$(BIN)/python -m pip install -q -c constraints.txt $(EXECUTORS)
	$(BIN)/python benchmarks/backends.py --kills $(or $(KILLS),100) --on $(or $(ON),dask$(COMMA)processes$(COMMA)mpi)

test-sources: $(STAMP) ## every kind of source through every check of the conformance suite, as a table; and their speed
	$(BIN)/python benchmarks/sources_table.py
	$(BIN)/python benchmarks/sources.py

test-projects: $(STAMP) ## label projects under many writers, kills and 100,000 data sets; prints what it counted
	$(BIN)/python -m pytest -q -rs -s -o python_files='test_*.py proof_*.py' tests/projects

soak: $(STAMP) ## kill workers and drivers at random instants; nothing may be lost: ROUNDS=200 KILLS=5 SEED=1 ROUND=17
	$(BIN)/python benchmarks/soak.py

fuzz: $(STAMP) ## read 10,000 damaged files and folders of each format: errors of the package or images; COUNT=500 ONLY="a.nii a.czi" SEED=1
	$(BIN)/python benchmarks/fuzz_files.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0) $(if $(ONLY),--only $(ONLY))
	$(if $(ONLY),,$(BIN)/python benchmarks/fuzz_folders.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0))

pipelines: $(STAMP) ## kill scripts with pipelines at random instants, and what a pipeline costs: KILLS=60 SEED=1
	$(BIN)/python -W ignore benchmarks/pipelines.py --kills $(or $(KILLS),60)

test-contract: $(STAMP) ## ask a server all that its OpenAPI document allows, by schemathesis in an environment of its own: CASES=20000
	test -e $(VENV)/schemathesis/bin/st || { $(PYTHON) -m venv $(VENV)/schemathesis \
	  && $(VENV)/schemathesis/bin/python -m pip install -qq --disable-pip-version-check schemathesis==4.32.5; }
	$(BIN)/python benchmarks/server_contract.py $(VENV)/schemathesis/bin/st --cases $(or $(CASES),20000)

bench-server: $(STAMP) ## how fast a server of label projects answers: reads, lists of 100,000 data sets, streams, 50 people, chunks
	$(BIN)/python benchmarks/server_speed.py reads
	$(BIN)/python benchmarks/server_speed.py lists
	$(BIN)/python benchmarks/server_speed.py streams
	$(BIN)/python benchmarks/server_speed.py people
	$(BIN)/python benchmarks/server_chunks.py

lint: $(STAMP) ## check style (ruff), types (mypy), layers (import-linter), and that nothing imports in a circle
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/layout

bench: $(STAMP) ## speed against the peers, side by side, and how it grows; tables and plots in benchmarks/out/speed/
	$(BIN)/python benchmarks/speed/run.py
	$(BIN)/python benchmarks/speed/run.py --scaling

bench-growth: $(STAMP) ## what runs cost beside the work, up to a petavoxel on paper (docs/growth.md); 3 minutes
	$(BIN)/python benchmarks/growth.py

bench-check: $(STAMP) ## the same comparison; fails and lists where the speed falls short of a target
	$(BIN)/python benchmarks/speed/run.py --check

bench-segmentation: $(STAMP) ## quality of segmenting neurons at three levels of noise, in blocks, as a whole, and by other ways
	$(BIN)/python benchmarks/segmentation.py

check-slice: $(STAMP) ## check what the first slice promises; fails where it falls short
	$(BIN)/python benchmarks/check_slice.py

docs: $(STAMP) ## build the site of the documentation, without internet: build/docs/index.html
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

clean: ## remove what the other targets made, .venv too
	rm -rf $(VENV) build dist demo benchmarks/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $(if $(VERSION),Python $(VERSION),a command that does not run)." >&2; \
	  echo "Name one that you have: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12" >&2; exit 1; }
	@test "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(VERSION)" \
	  || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (Python $(VERSION)) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt hatchling editables setuptools
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@
