# coder-chaos. `make demo` and `make test` do all set-up themselves; nothing is installed outside this folder and the
# user's cache.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SKIPPED := $(VENV)/skipped
SOAK_RUNS ?= 10
SOAK_FULL ?= 2
SOAK_ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench lint fmt clean

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "coder-chaos needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "python's venv module is missing (on Debian: python3-venv); install it and run again" >&2; exit 5; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.ready ## Break a throw-away deployment once, under load, and print the verdict
	$(BIN)/coder-chaos demo

# Side by side what bears company; then, one after the other, what starts whole stacks or measures time. For the latter
# tests/engine.py brings up a Docker engine where there is none, but only with CI=true or CHAOS_SETUP_DOCKER=1.
test: $(VENV)/.ready-dev ## Run all tests (unit, contract, golden, end to end)
	@rm -f $(SKIPPED)
	SKIPPED_TESTS=$(SKIPPED) $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m 'not (soak or e2e or alone)'
	SKIPPED_TESTS=$(SKIPPED) $(BIN)/python tests/engine.py $(BIN)/python -m pytest -m '(e2e or alone) and not soak'

soak: $(VENV)/.ready-dev ## Long repetitions: every scenario (or those of SOAK_ONLY) SOAK_RUNS times, then the long tests
	$(BIN)/python -m bench.soak --runs $(SOAK_RUNS) --full $(SOAK_FULL) $(if $(SOAK_ONLY),-k '$(SOAK_ONLY)')
	$(BIN)/python -m pytest -m soak

bench: $(VENV)/.ready-dev ## Measure what speed matters; prints figures, fails on none
	$(BIN)/python -m bench

lint: $(VENV)/.ready-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.ready-dev ## Format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and caches of this folder (never run directories)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
