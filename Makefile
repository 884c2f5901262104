# Every target makes .venv by itself; nothing but python3 (3.11 or newer) has to be there.
# ARGS is passed on:  make test ARGS="tests/house -x"   make demo ARGS=--json   make bench ARGS=--quick
# Standard output of demo and bench is theirs alone, so that --json can be piped.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## run the triage agent for real: crash it, kill it, watch it recover
	@$(BIN)/greenroom demo $(ARGS)

# A file of tests stays on one worker: the tests that kill processes are not to share it with others of their kind.
test: $(READY) ## run all tests
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

check: $(READY) ## lint, formatting, types, house rules, the wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/house

format: $(READY) ## rewrite the code in the project's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## measure messages, durable steps and recovery on this machine
	@$(BIN)/greenroom bench $(ARGS)

clean: ## remove the environment and everything that was built
	rm -rf .venv build dist greenroom.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find actors protocol storage benchmarks tests src -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted set-up is done again. The pip that python3 brings along may
# be too old to know dependency groups, so it is brought up first.
$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "greenroom needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { \
		echo "$(PYTHON) cannot make environments: install its venv module (Debian: python3-venv)" >&2; \
		rm -rf .venv; exit 1; }
	@echo "making the environment in .venv" >&2
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" >&2
	@$(BIN)/python -m pip install --quiet --editable ".[http]" --group dev >&2
	@touch $@
