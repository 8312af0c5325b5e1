PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test lint bench study-gate study-boundary study-forgetting study-hycora docs clean
setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python -m neekoctl.demo

test: setup lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m tests.bench $(ONLY)

study-gate: setup
	$(BIN)/python -m tests.studies.gate $(DATA)

study-boundary: setup
	$(BIN)/python -m tests.studies.boundary $(DATA)

study-forgetting: setup
	$(BIN)/python -m tests.studies.forgetting $(DATA) $(EXCHANGES)

study-hycora: setup
	$(BIN)/python -m tests.studies.hycora $(DATA)

docs: setup
	$(BIN)/python -m neekoctl.commands.reference docs/commands.md

clean:
	rm -rf .venv .demo .bench
