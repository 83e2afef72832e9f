# Visionyard. `make help` lists what there is; everything else works on a fresh machine with Python 3.11 and make.

# The first Python that will do, or nothing. Another one: make PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo "$$p"; break; }; done)

BIN := .venv/bin
PIP_INSTALL := -m pip install --disable-pip-version-check --no-input --quiet
TIERS ?= architecture unit contract integration e2e
PYTEST := $(BIN)/python -m pytest --durations=10 -m "not bench and not compose and not faults and not long"
# Tiers that several processes share, a file of tests at a time, and how many processes; e2e has one stack, and contract asks stores how they answer races
PARALLEL_TIERS := unit integration
PROCESSES ?= 2

# For `make fuzz`: seconds for each parser, how many at once, and which (all where none is named); for `make fuzz-replay`: an input under .fuzz
SECONDS ?= 600
AT_ONCE ?= 2
PARSERS ?=
FILE ?=

# For `make run`
DATA ?=
MODEL ?=
EPOCHS ?=
IMGSZ ?=
# For `make import-kills`
SEED ?=
export DATA MODEL EPOCHS IMGSZ SEED

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-datumaro run test test-long gpu-test lint proto bench up down faults import-kills training-kills fuzz fuzz-replay compose-test

help: ## Lists what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: .venv/.made .venv-triton/.made ## Makes the environments .venv and .venv-triton; does nothing when nothing changed
	@# Where PYTHONDONTWRITEBYTECODE is set, every start of every process would compile our modules anew.
	@$(BIN)/python -m compileall -q services

run: setup ## The whole line on a generated sample, or on DATA=… with MODEL=… EPOCHS=… IMGSZ=…
	@$(BIN)/python -m visionyard.local.demo \
		$(if $(DATA),--data "$$DATA") $(if $(MODEL),--model "$$MODEL") $(if $(EPOCHS),--epochs "$$EPOCHS") $(if $(IMGSZ),--imgsz "$$IMGSZ")

test: setup ## All tests against real servers, tier by tier (TIERS="unit contract" for some)
	@set -e; for tier in $(TIERS); do \
		case " $(PARALLEL_TIERS) " in *" $$tier "*) share="-n $(PROCESSES) --dist loadfile";; *) share="";; esac; \
		echo "== $$tier"; $(PYTEST) $$share "tests/$$tier"; done

test-long: setup ## The tests that take minutes each: several processes and Ray nodes, searches, INT8, each task beside plain Ultralytics
	$(BIN)/python -m pytest -m long tests

gpu-test: setup ## The tests that need an NVIDIA GPU; fails where none can be reached
	VISIONYARD_GPU_TEST=1 $(BIN)/python -m pytest -s -m gpu tests

lint: setup ## ruff, mypy --strict, import-linter, buf
	deploy/lint.sh

proto: setup ## Generates the Python code of protos/
	deploy/generate-protos.sh

setup-datumaro: .venv-datumaro/.made ## Makes .venv-datumaro: for imports with --format datumaro:NAME, and for `make bench` to compare with

bench: setup ## Measures and prints: imports (beside Datumaro after make setup-datumaro), training overhead, predictions
	$(BIN)/python tests/bench

up: setup ## Starts the embedded stack in the background
	@$(BIN)/yard up --detach

down: ## Stops the embedded stack
	@$(BIN)/yard down

faults: setup ## Kills each process in each phase, and at 30 random moments of a training; writes docs/reliability.md and docs/training-kills.md (SEED=…)
	$(BIN)/python tests/e2e/faults.py
	$(BIN)/python tests/e2e/training_kills.py $(if $(SEED),--seed "$$SEED")

training-kills: setup ## Kills worker, service, store and the whole stack at 30 random moments of a training; writes docs/training-kills.md (SEED=…)
	$(BIN)/python tests/e2e/training_kills.py $(if $(SEED),--seed "$$SEED")

import-kills: setup ## Kills client, service, worker and store at 30 random moments of an import; writes docs/import-kills.md (SEED=…)
	$(BIN)/python tests/e2e/import_kills.py $(if $(SEED),--seed "$$SEED")

fuzz: .venv/.fuzz ## Fuzzes every parser of what strangers give (SECONDS=600 each, PARSERS="coco voc" for some); writes docs/reliability.md
	@$(BIN)/python tests/fuzz --seconds $(SECONDS) --at-once $(AT_ONCE) $(PARSERS)

fuzz-replay: .venv/.fuzz ## Shows what is wrong with an input that `make fuzz` found (FILE=.fuzz/…)
	@test -n "$(FILE)" || { echo "Name the input: make fuzz-replay FILE=.fuzz/PARSER/finds/NAME" >&2; exit 1; }
	@$(BIN)/python tests/fuzz --replay "$(FILE)"

compose-test: setup ## Builds the images and runs the line in containers; needs docker, or what VISIONYARD_COMPOSE names
	$(BIN)/python -m pytest -m compose tests/compose

# An environment that was interrupted while it was made has no pip, and is made anew.
define environment
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found: install one, or name it with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(1) || { \
		echo "$(PYTHON) cannot make environments: it lacks the venv module (python3-venv on Debian and Ubuntu)" >&2; exit 1; }
	@$(1)/bin/python services/visionyard/local/host.py
endef

.venv/.made: pyproject.toml constraints.txt
	$(call environment,.venv)
	@echo "installing into .venv; the first time some 5 GB are fetched"
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

.venv/.fuzz: .venv/.made
	@$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e '.[fuzz]'
	@touch $@

.venv-triton/.made: deploy/triton/requirements.txt
	$(call environment,.venv-triton)
	@echo "installing Triton into .venv-triton"
	@.venv-triton/bin/python $(PIP_INSTALL) -r deploy/triton/requirements.txt
	@touch $@

.venv-datumaro/.made: deploy/datumaro/requirements.txt
	$(call environment,.venv-datumaro)
	@echo "installing Datumaro into .venv-datumaro"
	@.venv-datumaro/bin/python $(PIP_INSTALL) -r deploy/datumaro/requirements.txt
	@touch $@
