# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# pictures or folders to dehaze in `make demo`; any path may be given: make demo PICTURES="a.jpg holiday/"
PICTURES ?= $(wildcard ../shared/data/real_hazy)

.PHONY: demo test test-slow lint docs bench guard clean

demo: $(VENV)/.demo
	$(BIN)/python scripts/demo.py --output demo $(PICTURES)

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the documentation as a site: open site/index.html
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

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

$(VENV)/.docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist site
