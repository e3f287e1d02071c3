# Every target sets up what it needs; from a fresh clone only python3, pip and make.
#
#   make train                                     train on the embedded data set
#   make train FLAGS="--flagfile=cifar10_sym40.flags --data_dir=DATA"   another experiment
#   make test                                      the whole test suite
#   make test-extras                               the tests of keras-cv and keras-hub
#   make train TENSORFLOW=gpu                      with TensorFlow for NVIDIA GPUs

PYTHON ?= python3
# cpu, tensorflow or gpu: which build of TensorFlow (extras of pyproject.toml). One at a
# time: $(VENV) is emptied for another.
TENSORFLOW ?= cpu
FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(TENSORFLOW)
OTHER_BUILDS = $(filter-out $(READY),$(wildcard $(VENV)/ready-*))
VENV_EXTRAS := .venv-extras

.PHONY: train test test-fast test-extras lint types check clean

train: $(READY)
	$(BIN)/python launch/train.py $(FLAGS)

# Two processes, a file of tests each at a time: most of what a test does is done by one
# core.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Without the tests marked slow: while working.
test-fast: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder -m "not slow"

# What `make test` skips, by name, without keras-cv and keras-hub. In one process: nearly
# all of the time goes to one file.
test-extras: $(VENV_EXTRAS)/ready
	$(VENV_EXTRAS)/bin/python -m pytest tests/augment/test_keyed_draws.py \
		tests/augment/test_keras_layer.py tests/backbones/test_keras_hub.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) $(VENV_EXTRAS) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(if $(OTHER_BUILDS),--clear) $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable ".[$(TENSORFLOW),launch,test]"
	touch $@

# An environment of its own: keras-hub needs tensorflow-text, and that needs `tensorflow`,
# whose files would overwrite those of tensorflow-cpu. The imports are tried here, since
# tests skip what cannot be imported.
$(VENV_EXTRAS)/ready: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV_EXTRAS)
	$(VENV_EXTRAS)/bin/python -m pip install --quiet --no-compile \
		--constraint constraints.txt --editable ".[tensorflow,keras-cv,keras-hub]" pytest
	$(VENV_EXTRAS)/bin/python -c "import keras_cv, keras_hub"
	touch $@
