# make demo | test | fuzz | lint | docs. Needs Python 3.11 or newer and its venv module, nothing else.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.momus-installed
DOCS_STAMP := $(VENV)/.momus-docs-installed
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
DEMO_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz test-browser test-remote test-real lint docs

help:
	@echo 'make demo   set up .venv and run the whole loop (DEMO_ARGS="--preset smoke --seed 1" passes options on)'
	@echo 'make test   set up .venv and run the tests'
	@echo 'make fuzz   every reader over 10,000 damaged files (CASES=2000 for fewer; CONTRIBUTING.md)'
	@echo 'make test-remote   run the remote engine against the server that MOMUS_REMOTE_URL names (docs/guides/servers.md)'
	@echo 'make test-real   run the tests on real models, in the folder that MOMUS_REAL_MODELS names (CONTRIBUTING.md)'
	@echo 'make test-browser   run the workbench in Chromium (Debian: apt install chromium fonts-nanum)'
	@echo 'make lint   set up .venv and run ruff and mypy'
	@echo 'make docs   set up .venv and build this documentation as a site: site/index.html'

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m momus demo $(DEMO_ARGS)

# Processes share the tests out and take from each other: one more than there are cores, for some tests wait for
# processes of their own; with one thread each they do not fight over the cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$($(BIN)/python -c "import os; print(os.cpu_count() + 1)") --maxprocesses 4 --dist worksteal

# make test reads 500 of these damaged files.
fuzz: $(STAMP)
	MOMUS_FUZZ_CASES=$(or $(CASES),10000) $(BIN)/python -m pytest tests/fuzz -v --timeout 36000

test-remote: $(STAMP)
	$(BIN)/python -m pytest tests/remote -rs -v

# One process: a model of half a billion parameters takes 2 GB, and they would fight over the cores.
test-real: $(STAMP)
	$(BIN)/python -m pytest tests/real -rs -v --timeout 1800

test-browser: $(STAMP)
	MOMUS_TEST_BROWSER=1 $(BIN)/python -m pytest tests/label/browser tests/test_site.py -v

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# A link that leads nowhere, a test that is named and not there, or a page that loads from elsewhere ends the build.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The first interpreter that is new enough; PYTHON=/path/to/python overrides.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null && exec "$$python" -m venv $(VENV); \
		echo "$$python has no venv module. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; \
	done; \
	echo 'Python 3.11 or newer was not found. Install it, or run: make PYTHON=/path/to/python3 …' >&2; exit 1

# Without an NVIDIA GPU the CPU build of torch (a tenth of the download) is preferred where its index can be reached.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@index=; \
	if ! command -v nvidia-smi >/dev/null 2>&1 && $(BIN)/python -c \
		'import urllib.request; urllib.request.urlopen("$(TORCH_CPU_INDEX)/torch/", timeout=10)' 2>/dev/null; \
	then index="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	echo 'Installing Momus into $(VENV) …'; \
	$(BIN)/python -m pip install --disable-pip-version-check $$index -c constraints.txt -e '.[all,dev]'
	@touch $@

$(DOCS_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing what the site is built with into $(VENV) …'
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
