# One virtual environment, .venv, set up on first use from exact versions (constraints.txt) and
# again only when these or pyproject.toml change.
#
#   make train ARGS="Pendulum-v1 --seed 1"      make test PYTEST_ARGS="-k replay"
#   make test PYTHON=/opt/python3.12/bin/python3      to choose the Python of a new .venv

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: train test lint bench clean help

VENV ?= .venv
PYTHON ?=
CANDIDATES = $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

train: $(VENV)/.installed  ## Train an agent: make train ARGS="--help"
	@$(VENV)/bin/mbpo train $(ARGS)

test: lint  ## Style, import rules, types, and all tests
	JAX_PLATFORMS=$${JAX_PLATFORMS:-cpu} $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## Style, import rules and types only
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy

bench: $(VENV)/.installed-dev  ## Speed beside its peers: make bench ARGS="sac rollouts --quick"
	@$(VENV)/bin/python -m benchmarks.speed $(ARGS)

clean:  ## Remove .venv, caches and build output; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache MUJOCO_LOG.TXT
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## This list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[dev,mujoco]'
	@touch $@ $(VENV)/.installed

# The first Python of at least 3.11 that runs; the one asked for, if one was asked for.
$(VENV)/bin/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Setting up $(VENV) with $$("$$python" --version); the first time takes a few minutes."; \
	    "$$python" -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$python cannot make virtual environments; on Debian and Ubuntu, install python3-venv." >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "mbpo needs Python 3.11 or newer, and no such Python was found; tried: $(CANDIDATES)." >&2; \
	echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	exit 1
