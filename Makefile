# Astra: everything a newcomer, a developer and the build server type.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

# PYTHON=newest takes the newest supported interpreter on the PATH.
PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13
WORKERS ?= 2
BIN := .venv/bin
PYTEST = bin/python -m pytest -n $(WORKERS) --dist loadfile

ifeq ($(PYTHON),newest)
override PYTHON := $(firstword $(foreach v,3.13 3.12 3.11,$(shell python$(v) -c 'print("python$(v)")' 2>/dev/null)))
endif

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One rule makes every environment: .venv with $(PYTHON), .venv-3.12 with Python 3.12, ...
# An interpreter counts when it starts: a version manager's shim may be on the PATH and still refuse.
find_python = $(shell for python in python$(1) $(HOME)/.pyenv/versions/$(1).*/bin/python; do \
	"$$python" -c 'import sys; print(sys.executable)' 2>/dev/null && break; done)
python_of = $(if $(filter .venv,$(1)),$(PYTHON),$(or $(call find_python,$(1:.venv-%=%)),$(error $(1): no such Python here)))
PIP := bin/python -m pip install --quiet --disable-pip-version-check

%/.locked: requirements/dev.txt
	@$(call python_of,$*) -c 'import sys; sys.exit("Astra needs Python 3.11 or newer, was " + sys.version \
		+ "; name another with PYTHON=" if sys.version_info < (3, 11) else 0)'
	@echo "installing the locked dependencies into $* (once, a minute or two)"
	@$(call python_of,$*) -m venv --clear $*
	@$*/$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

%/.installed: %/.locked pyproject.toml
	@$*/$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.PRECIOUS: %/.locked %/.installed

.PHONY: setup
setup: .venv/.installed  ## Make the environment .venv from the hash lock
	@:

.PHONY: replay
replay: setup  ## Replay simulated bars through the whole engine, and say where the report is
	@test -f demo/astra.toml || $(BIN)/astra init demo
	@cd demo && ../$(BIN)/astra replay
	@echo "report: demo/runs/latest/report.html"

.PHONY: test
test: setup  ## Run every test
	@.venv/$(PYTEST)

.PHONY: check
check: setup  ## Lint, check format, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: demo
demo: setup  ## Run live on simulated bars, a minute a second; Ctrl-C ends it
	@$(BIN)/astra run --demo --speed 60

.PHONY: campaign
campaign: setup  ## Kill a running engine a thousand times, lose power at every sync, simulate thousands of faulty days
	@$(BIN)/python -m tests.campaign --kills 1000
	@$(BIN)/python -m tests.simulation

.PHONY: fuzz
fuzz: setup  ## Search for input that breaks a decoder: a million for each, guided by coverage; needs atheris
	@$(BIN)/python -m tests.fuzz $(TARGET)

.PHONY: soak
soak: setup  ## Run live at a hundred times the pace for 20 minutes, and measure what grows
	@$(BIN)/python -m benchmarks.soak

.PHONY: bench-live
bench-live: setup  ## Measure the way of a live bar: to the gate, to the disk, to Redis and MQTT
	@$(BIN)/python -m benchmarks.live

.PHONY: figures
figures: setup  ## Compute every figure of docs/figures.md again, beside what others stated
	@$(BIN)/python -m examples.figures

.PHONY: bench
bench: setup  ## Measure the engine on this machine
	@$(BIN)/python -m benchmarks.run

.PHONY: bench-peers
bench-peers: setup  ## Measure other engines on the same bars, in environments of their own
	@$(BIN)/python -m benchmarks.peers.run

.PHONY: test-pythons
test-pythons:  ## Run every test under each supported Python on this machine
	@for version in $(foreach v,$(PYTHONS),$(if $(call find_python,$(v)),$(v))); do \
		$(MAKE) --no-print-directory "test-python-$$version"; done

test-python-%: .venv-%/.installed
	@echo "Python $*"
	@.venv-$*/$(PYTEST)

# Without --no-emit-* and --no-header the locks would name the index they were made with.
LOCK = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --annotation-style=line \
	--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	--no-build-isolation --output-file
LOCK_HEADER := \# Made by `make lock` from pyproject.toml for every supported Python; not edited by hand.

.PHONY: lock
lock: setup  ## Bring requirements/ up to date with pyproject.toml; UPGRADE=--upgrade renews every pin
	@$(BIN)/python -c 'import sys; sys.exit("lock with Python 3.11, the oldest supported: newer ones take releases \
		that it cannot install" if sys.version_info[:2] != (3, 11) else 0)'
	@$(LOCK) requirements/dev.txt --extra dev --extra servers --extra notify --extra alpaca --extra yahoo --extra convertible $(UPGRADE) pyproject.toml
	@$(LOCK) requirements/runtime.txt --constraint requirements/dev.txt $(UPGRADE) pyproject.toml
	@sed -i '1i $(LOCK_HEADER)' requirements/dev.txt requirements/runtime.txt
	@echo "now run make test-pythons: one lock serves all of them"

.PHONY: clean
clean:  ## Remove environments, caches and the demo; runs elsewhere are kept
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo dist build
	find engine feeds strategies risk tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
