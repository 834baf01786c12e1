# What a person does with this checkout. `make help` lists it.

# The distribution's Python before others: it is built optimised, and its mends come with the system's.
PYTHON ?= $(if $(shell /usr/bin/python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>&1 && echo fit),/usr/bin/python3,python3)
VENV ?= .venv
PREFIX ?= /opt/everynode
BINDIR ?= /usr/local/bin
SEEDS ?= 1000
export PYTHON VENV PREFIX BINDIR

bin := $(VENV)/bin
stamp := $(VENV)/set-up

.PHONY: help setup demo test fast sim torture mutants bench lint format install clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: setup ## three real daemons on this machine, to look at and to play with (ONCE=1: ends by itself)
	@$(bin)/python -m demo $(if $(ONCE),--once)

test: setup ## everything that has to be true, in less than 15 minutes
	@scripts/packages test
	@scripts/test

fast: setup ## style, unit and property tests: seconds
	@scripts/test fast

sim: setup ## a simulated cluster, SEEDS=n different lives of it
	@$(bin)/python -m tests.sim --seeds $(SEEDS)

torture: setup ## all short stories, a long run, power cuts and kills: hours; stopped and started again, it goes on (see docs/reliability.md)
	@scripts/packages test
	@$(bin)/python -m tests.exhaustive
	@SHORT_STORIES_ALL=1 $(bin)/pytest tests/cluster/test_short_stories.py --timeout 600
	@$(bin)/python -m tests.torture
	@$(bin)/python -m tests.crash

mutants: setup ## plant each fault of tests/mutants in a copy of the source and see the tests catch it
	@$(bin)/python -m tests.mutants

bench: setup ## side by side with rsync, lsyncd, unison, csync2, syncthing (QUICK=1: rsync only, small)
	@scripts/packages bench
	@$(bin)/python -m bench $(if $(QUICK),--quick,--out docs/benchmarks.md)

lint: setup ## style only
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@MYPYPATH=src $(bin)/mypy --explicit-package-bases lab bench demo tests/cluster tests/crash tests/torture tests/style
	@$(bin)/lint-imports

format: setup ## let ruff put the code in shape
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix .

install: ## everynode into PREFIX, the command into BINDIR, a systemd unit
	@scripts/install

clean: ## everything that was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made once, and again when the requirements change. The stamp lives in the environment and goes away with it.
setup: $(stamp)

$(stamp): pyproject.toml scripts/venv
	@echo "setting up: virtual environment in $(VENV)"
	@scripts/venv $(VENV) --editable '.[dev]'
	@touch $@
