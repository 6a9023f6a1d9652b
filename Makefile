# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
# with one `make test` builds and tests the kernels too; `make test COMPILER=` leaves them out
COMPILER ?= $(shell command -v cc || command -v cl)
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# pictures or folders to dehaze in `make demo`; any path may be given: make demo PICTURES="a.jpg holiday/"
PICTURES ?= $(wildcard ../shared/data/real_hazy)

.PHONY: demo test kernels test-kernels kernels-wheels kernels-source test-slow test-data mutation lint docs bench guard \
	clean coverage package web web-test test-cluster

demo: $(VENV)/.demo
	$(BIN)/python scripts/demo.py --output demo $(PICTURES)

test: $(VENV)/.test
	UNHAZE_KERNELS=off $(BIN)/python -m pytest --numprocesses auto
	$(if $(COMPILER),$(MAKE) test-kernels)

# the compiled pass over full-resolution pixels, in kernels/; needs a C compiler
kernels: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ./kernels

test-kernels: kernels
	$(BIN)/python -m pytest --numprocesses auto tests/restore tests/default tests/cli/test_doctor.py

# the same tests, slower, with every branch counted; fails below the gate in pyproject.toml; see build/coverage/index.html
coverage: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --cov --cov-report=term:skip-covered \
		--cov-report=html:build/coverage --cov-report=xml:build/coverage/coverage.xml

# what a release of the kernels consists of, in kernels/dist: wheels for this platform, tested, and the source
kernels-wheels:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check "cibuildwheel>=3,<5"
	$(PYTHON) -m cibuildwheel kernels --output-dir kernels/dist

kernels-source:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check "build>=1.2"
	$(PYTHON) -m build --sdist --outdir kernels/dist kernels

# a cluster of Ray with two nodes and an S3 server, all on this machine
test-cluster: $(VENV)/.cluster
	$(BIN)/python -m pytest -m "cluster and not slow"

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
	$(BIN)/codespell src docs tests scripts benchmarks web/src web/tests web/e2e web/scripts .github *.md *.toml Makefile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/mypy
	$(BIN)/lint-imports

# the documentation as a site: open site/index.html
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

guard: $(VENV)/.test
	$(BIN)/python scripts/check_environment.py

bench: $(VENV)/.test
	$(BIN)/python benchmarks/dehaze.py

# the page: what ships in src/unhaze/web/page, and in build/page the one that needs no server; needs node 20 or newer
web: web/node_modules/.package-lock.json
	cd web && node scripts/build.mjs

# types, parts, equality with Python, and the page in Chromium; skipped with a reason where node is missing
web-test: $(VENV)/.test
	if command -v npm >/dev/null; then $(MAKE) web/node_modules/.package-lock.json; fi
	$(BIN)/python -m pytest -m "slow or not slow" tests/web/test_page.py

web/node_modules/.package-lock.json: web/package-lock.json web/package.json
	cd web && npm ci --ignore-scripts

# what a release consists of, in dist/, checked and tried in a fresh environment
package: $(VENV)/.package
	rm -rf dist build/wheel
	$(BIN)/python -m build
	$(BIN)/python -m build --wheel --outdir build/wheel
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist
	$(BIN)/python scripts/check_package.py contents dist build/wheel
	$(BIN)/python scripts/check_package.py smoke dist

$(VENV)/.package: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[package]"
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[demo]"
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[test]"
	touch $@

$(VENV)/.cluster: $(VENV)/.test
	$(PIP) --editable ".[cluster]"
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist site
