# The commands of the workbench. Everything lives in .venv and build; `make clean` removes the second.
#   make run             JupyterLab on the tour, on loopback      make run HEADLESS=1   the tour as build/tour.html, no browser
#   make test            every test except the benchmarks        make lessons          the notebooks in full, as build/lessons/*.html
#   make bench           the benchmarks, printed                 make faults           kills, torn journals, clocks: printed
#   make fuzz            every parser, ten minutes each          make clean            without build/
#   make install         only the environment
# PYTHON=python3.12 takes another interpreter for a new .venv; PYTEST_ARGS="-k journal" goes to pytest.
SHELL := /bin/bash
PYTHON ?= python3
PYTEST_ARGS ?=
TOUR := notebooks/00_tour.ipynb
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1
# Threads of the notebook's own torch spin only shortly while they wait, so that they do not take the cores from the run they watch.
export GOMP_SPINCOUNT ?= 1000
# Tests on real data are skipped without it, so they get it wherever it lies beside the repository.
ifeq ($(origin WORKBENCH_REAL_DATA),undefined)
ifneq ($(wildcard ../shared/data/.),)
export WORKBENCH_REAL_DATA := $(abspath ../shared/data)
endif
endif

.PHONY: run test lessons bench faults fuzz install install-test chromium clean help
help:
	@sed -n '2,8s/^# \{0,1\}//p' Makefile

# JupyterLab refuses root unless told; a container on loopback is no place to stop for that.
ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

run: install
ifeq ($(filter-out 0,$(HEADLESS)),)
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.app_settings_dir=tools/lab_settings --LabApp.default_url=/lab/tree/$(TOUR) $(ALLOW_ROOT)
else
	@rm -f build/tour.html
	$(BIN)/python tools/execute_notebook.py $(TOUR) --output build
	mv build/00_tour.html build/tour.html
	@echo "build/tour.html is ready: it needs no kernel"
endif

# Three files at a time (they wait for their workers often), each with a thread, a queue and runs of its own; then browsers; then what
# measures seconds, alone.
ALONE := tests/notebooks tests/test_imports.py
PAGES := tests/browser
test: install-test chromium
	@export WORKBENCH_QUICK=1; together=0; pages=0; alone=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --durations=15 $(addprefix --ignore=,$(ALONE) $(PAGES)) $(PYTEST_ARGS) || together=$$?; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15 $(PAGES) $(PYTEST_ARGS) || pages=$$?; \
	$(BIN)/python -m pytest --durations=15 $(ALONE) $(PYTEST_ARGS) || alone=$$?; \
	case $$together,$$pages,$$alone in 5,5,5|*[!05,]*) echo "make test: pytest ended with $$together, $$pages and $$alone" >&2; exit 1;; esac

lessons: install
	$(BIN)/python tools/execute_notebook.py notebooks/*.ipynb --output build/lessons

bench: install-test chromium
	$(BIN)/python -m pytest tests/benchmarks -s -o timeout=0 $(PYTEST_ARGS)

faults: install-test
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[several]'
	$(BIN)/python -m pytest tests/faults/long*.py -s -o timeout=0 $(PYTEST_ARGS)
	$(BIN)/python -m tests.faults.launch_long

fuzz: install-test
	$(BIN)/python -m tests.fuzz --minutes 10

chromium: install-test
	@$(BIN)/python tools/ensure_chromium.py

install: .venv/installed-lab
install-test: .venv/installed-test

.venv/python-ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The workbench needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# torch first, at its pinned version: resolved together with the rest, pip may fetch a second build before it settles.
.venv/torch-ready: .venv/python-ready constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch
	@touch $@

.venv/installed-lab: .venv/torch-ready pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[lab]'
	@touch $@

.venv/installed-test: .venv/installed-lab
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[lab,gpu,trackers,test]'
	@touch $@

clean:
	rm -rf build .pytest_cache *.egg-info
	find . -name .venv -prune -o -name __pycache__ -prune -exec rm -rf {} +
