# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# pictures or folders to dehaze in `make demo`; any path may be given: make demo PICTURES="a.jpg holiday/"
PICTURES ?= $(wildcard ../shared/data/real_hazy)

.PHONY: demo test test-slow test-data mutation lint bench guard clean

demo: $(VENV)/.demo
	$(BIN)/python scripts/demo.py --output demo $(PICTURES)

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m "slow and not development_data"

# UNHAZE_DEVELOPMENT_DATA and UNHAZE_OFFICIAL_WEIGHTS name the folders that are no part of the repository
test-data: $(VENV)/.test
	$(BIN)/python -m pytest -m development_data

# how many small faults the tests of these rooms notice; takes an hour
mutation: $(VENV)/.test
	$(PIP) --editable ".[mutation]"
	$(BIN)/python scripts/mutation.py physics metrics fusion

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

guard: $(VENV)/.test
	$(BIN)/python scripts/check_environment.py

bench: $(VENV)/.test
	$(BIN)/python benchmarks/dehaze.py

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[demo]"
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist
