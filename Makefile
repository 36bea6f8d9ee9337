# Two commands do everything: make demo, make test. `make` lists them all.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo check test bench clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(READY) ## make .venv and install PFSR with everything developers need

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PFSR needs Python 3.11 or newer; run: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## train on the built-in synthetic world, recommend, write a report (under 3 minutes)
	$(BIN)/pfsr train recipes/demo.toml --out runs/demo --overwrite
	$(BIN)/pfsr recommend runs/demo
	@echo; echo "Open runs/demo/report.html in a browser."

check: $(READY) ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: $(READY) ## the whole suite (under 15 minutes)
	$(BIN)/python -m pytest -n auto

bench: $(READY) ## speed and memory, as ratios side by side
	$(BIN)/python benchmarks/run_all.py

clean: ## remove what make made
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis .import_linter_cache
