# Two commands matter: `make quickstart` and `make test`. Each sets up what it needs. With root and
# Debian's Slurm packages, `make slurm-demo` runs a campaign on a real Slurm of virtual nodes.
#
# TORCH=cpu (default) installs the CPU build of PyTorch; TORCH=cuda the CUDA build:
#     make quickstart TORCH=cuda

PYTHON ?= python3
TORCH ?= cpu
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)

# Paths without spaces are make's; everything else is quoted below.
.PHONY: quickstart slurm-demo test lint bench clean

quickstart: $(VENV)/.run-$(TORCH)
	$(BIN)/daskhpo run data/quickstart.yaml

slurm-demo: $(VENV)/.run-$(TORCH)
	jobqueue/slurm-demo.sh $(BIN)/daskhpo

test: $(VENV)/.dev-$(TORCH)
	$(BIN)/python -m pytest

lint: $(VENV)/.dev-$(TORCH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev-$(TORCH)
	$(BIN)/python benchmarks/table.py

$(VENV)/.run-$(TORCH): setup.cfg constraints.txt | $(VENV)/.torch-$(TORCH)
	$(BIN)/pip install --quiet --prefer-binary -c constraints.txt -e '.[torch]'
	touch $@

$(VENV)/.dev-$(TORCH): setup.cfg constraints.txt | $(VENV)/.torch-$(TORCH)
	$(BIN)/pip install --quiet --prefer-binary -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.torch-cpu: | $(VENV)/bin/python
	$(BIN)/pip install --quiet 'torch==$(TORCH_VERSION)+cpu' -c constraints.txt || \
	$(BIN)/pip install --quiet 'torch==$(TORCH_VERSION)' -c constraints.txt \
	    --extra-index-url https://download.pytorch.org/whl/cpu
	touch $@

$(VENV)/.torch-cuda: | $(VENV)/bin/python
	$(BIN)/pip install --quiet 'torch==$(TORCH_VERSION)' -c constraints.txt
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "daskhpo needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV)
