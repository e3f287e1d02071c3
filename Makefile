# Every target sets up what it needs; from a fresh clone only python3, pip and make.
#
#   make train                                     train on the embedded data set
#   make train FLAGS="--flagfile=cifar10_sym40.flags --data_dir=DATA"   another experiment
#   make test                                      the whole test suite
#   make train TENSORFLOW=gpu                      with TensorFlow for NVIDIA GPUs

PYTHON ?= python3
# cpu, tensorflow or gpu: which build of TensorFlow (extras of pyproject.toml)
TENSORFLOW ?= cpu
FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(TENSORFLOW)

.PHONY: train test test-fast lint types check clean

train: $(READY)
	$(BIN)/python launch/train.py $(FLAGS)

# Two processes, a file of tests each at a time: most of what a test does is done by one
# core.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Without the tests marked slow: while working.
test-fast: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable ".[$(TENSORFLOW),launch,test]"
	touch $@
