# Two commands on a machine with Python 3.11 to 3.13, a C++ compiler and make:
#
#   make demo    install into .venv, compare initial densities on a few crystals, print table and report
#   make test    install into .venv, run every test but the slow ones (make test-slow)
#
# and `make docs`, which writes the documentation as a site into site/.
#
# All are safe to repeat. Nothing outside this folder is changed, except the cache of POTCAR
# exports (~/.cache/mlcharge_flows) and pip's.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= $(shell $(PYTHON) -c "import os; print(max(1, len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1))")
BIN := $(VENV)/bin

# GPAW is compiled here: g++ is enough, see gpaw_siteconfig.py. Set both to use a system library.
export CC ?= g++
export GPAW_CONFIG ?= $(CURDIR)/gpaw_siteconfig.py
ifeq ($(origin CC),default)
export CC := g++
endif
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-slow lint format docs clean install

help:
	@sed -n '1,11s/^# \{0,1\}//p' Makefile

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt gpaw_siteconfig.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f'Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...')"
	@command -v $(firstword $(CC)) > /dev/null || { echo "A C++ compiler is needed to build GPAW: install g++, or name one: make CC=clang++ ..."; exit 2; }
	@echo "==> Installing into $(VENV) (GPAW is compiled, about a minute after the downloads)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[gpaw,mkl,fireworks,models,train,dev]"
	@touch $@

demo: install
	@echo "==> Comparing initial densities on the crystals of test_files/crystals with $(WORKERS) workers"
	@$(BIN)/mlcharge compare test_files/crystals --executable gpaw-vasp --arms superposition,learned,learned+orbitals,converged --workers $(WORKERS) --out demo

test: install
	@echo "==> Running the tests"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-slow: install
	@echo "==> Running the slow tests: real runs of minutes"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

lint: install
	@echo "==> ruff, import contract, docstrings, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/numpydoc lint $$(find src -name '*.py' -not -path '*/cli/*' -not -name command.py)
	@$(BIN)/mypy

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.installed-docs
	@echo "==> Building the site, warnings are errors"
	@$(BIN)/mkdocs build --strict --quiet
	@echo "Site: $(CURDIR)/site/index.html"

clean:
	rm -rf $(VENV) demo site build dist .pytest_cache .ruff_cache .mypy_cache
