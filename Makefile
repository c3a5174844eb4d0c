# make chat    environment, default model, a conversation in the terminal
# make serve   environment, default model, the server and its page on http://127.0.0.1:8000
# make test    environment, every test
# make check   format, lint, types, as CI does
# make format  mends format and lint
# make ext     builds the compiled kernels again (cuda_ext/)
# make sanitize   the kernels' tests under the address and undefined-behaviour sanitizers
# make clean   removes the environment and caches; runs/ and prepared/ stay
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
RUN := runs/smalltalk
MODEL := $(RUN)/.trained
ifdef DVS2S_CUDA
export DVS2S_CUDA
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup ext chat serve train test check format sanitize clean

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "making the environment in $(VENV) (about a minute)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]' >&2
	@$(MAKE) --no-print-directory ext
	@touch $@

# the compiled kernels; without a compiler everything works on PyTorch's own. CUDA's are left out
# beside a torch without CUDA, where nothing could call them: make ext DVS2S_CUDA=1 builds them
ext:
	@DVS2S_CUDA=$${DVS2S_CUDA-$$($(BIN)/python -c 'import torch; print("" if torch.version.cuda else 0)')} \
	  $(BIN)/python -m pip install --quiet --no-build-isolation --no-deps ./cuda_ext > $(VENV)/ext.log 2>&1 \
	  || echo "the compiled kernels were not built (see $(VENV)/ext.log): PyTorch serves, more slowly" >&2
	@$(BIN)/python -c 'from dvs2s.ops.extension import describe; print("sparse softmax on cpu:", describe())' >&2

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

sanitize: $(STAMP)
	@bash cuda_ext/sanitize.sh $(BIN)/python

clean:
	rm -rf $(VENV) cuda_ext/build cuda_ext/*.egg-info .pytest_cache .mypy_cache .ruff_cache
