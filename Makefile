# make demo, make test: everything else is for those who work on it. Each target sets .venv up by itself.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test check bench soak format generate clean

help:
	@echo 'make demo      a cluster of four processes at work: airports in, queries out, a node killed and back'
	@echo 'make test      every test that this machine can run'
	@echo 'make check     style, types, layers, generated files, the protocol, the wheel'
	@echo 'make bench     every benchmark, as ratios'
	@echo 'make soak      the random tests, long'
	@echo 'make format    format the code'
	@echo 'make generate  write the generated files'

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo 'No Python found. Install Python 3.11 or newer.'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo '$(PYTHON) is too old. Install Python 3.11 or newer, or say: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo '$(PYTHON) has no venv. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'Setting up $(VENV) (once; about half a minute)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python demo/run.py

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/unasync.py --check
	$(BIN)/python tools/generate.py --lint
	$(BIN)/mypy
	$(BIN)/mypy tools bench demo
	$(BIN)/lint-imports
	$(BIN)/python tools/check_wheel.py

bench: $(STAMP)
	@$(BIN)/python -m bench

soak: $(STAMP)
	DATASTORE_HYPOTHESIS=soak $(BIN)/python -m pytest --timeout=0 tests/differential tests/conformance $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet

generate: $(STAMP)
	$(BIN)/python tools/generate.py
	$(BIN)/python tools/unasync.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
