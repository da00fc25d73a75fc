# Every target does its own set-up; only Python 3.11 or newer is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_SERVE ?= 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: demo app test test-long lint bench clean clean-kernels

demo: $(STAMP)
	$(BIN)/jepa experiment demo --out demo
	@if [ "$(DEMO_SERVE)" != "0" ]; then $(BIN)/python -m app --data demo/data --runs demo/runs; fi

app: $(STAMP)
	$(BIN)/python -m app

test: $(STAMP) lint
	$(BIN)/python -m pytest -m "not long" -n auto --dist loadfile

test-long: $(STAMP)
	$(BIN)/python -m pytest -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/twin bench --json
	$(BIN)/jepa bench --json

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; call make with PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev,sionna,footprints,cluster,tensorflow,figures,export]"
	@touch $@

# What numba compiled and kept: it does not notice an edit of a kernel that others call.
clean-kernels:
	find twin -name '*.nb[ic]' -delete

clean:
	rm -rf $(VENV) demo
