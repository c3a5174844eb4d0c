# make chat    environment, default model, a conversation in the terminal
# make serve   environment, default model, the server and its page on http://127.0.0.1:8000
# make test    environment, every test
# make check   format, lint, types, as CI does
# make format  mends format and lint
# make clean   removes the environment and caches; runs/ and prepared/ stay
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
RUN := runs/smalltalk
MODEL := $(RUN)/.trained
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup chat serve train test check format clean

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "making the environment in $(VENV) (about a minute)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]' >&2
	@touch $@

train: $(MODEL)

$(MODEL): $(STAMP)
	@echo "training the default model in $(RUN) (about two minutes on two cores; kept for the next start)" >&2
	@$(BIN)/python -m dvs2s.cli.train >&2
	@touch $@

chat: $(MODEL)
	@$(BIN)/python -m dvs2s.cli.chat checkpoint=$(RUN)

serve: $(MODEL)
	@$(BIN)/python serve.py checkpoint=$(RUN)

test: $(STAMP)
	@$(BIN)/python -m pytest

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
