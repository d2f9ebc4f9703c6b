# Everything runs in .venv, made by `make setup` from the package registry; each target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test test-slow lint format bench bench-gpu tiny-model clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) ## The environment: .venv with everything pinned in constraints.txt (a few minutes, 6 GB)

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (about 6 GB, a few minutes the first time)"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Label two synthesized shards with the bundled model and show what came of it
	@$(BIN)/maskmill demo

lint: $(READY) ## Format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

test: lint ## Environment, lint, types, tests
	@$(BIN)/pytest -n 2 --dist loadfile -m 'not slow and not gpu'

test-slow: $(READY) ## The tests that take minutes
	@$(BIN)/pytest -n 2 --dist loadfile -m 'slow and not gpu' --timeout 1200

bench: $(READY) ## Rates of this machine, the model, its parts and whole shards; ours beside plain forms (minutes)
	@$(BIN)/maskmill bench --weights random --device cpu -o bench.json
	@$(BIN)/maskmill bench --model san-tiny --device cpu --parts model --shard-sizes 1000 --shard-sizes 10000
	@$(BIN)/python -m tests.plain_san
	@$(BIN)/python -m tests.rle_bench
	@$(BIN)/python -m tests.decoder_bench

# What a GPU machine needs beside PyTorch, torchvision, timm, PyArrow, Pillow, fsspec and NumPy: fetched where there is a
# registry (GPU_VERSION=3.12 for another Python than this one's), it travels with this folder.
GPU_PYTHON ?= python3
GPU_VERSION ?= $(shell $(GPU_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
CARRIED := open_clip_torch ftfy wcwidth regex webdataset braceexpand simplejpeg cyclopts attrs docstring_parser rich rich-rst \
	pygments markdown-it-py mdurl
GPU_BENCH := PYTHONPATH=.carried:. $(GPU_PYTHON) -m jobs.bench --weights random --device cuda --dtype bfloat16

.carried/.ready: constraints.txt
	@$(PYTHON) -m pip install --quiet --no-deps --no-compile --upgrade --target .carried --constraint constraints.txt \
		--only-binary=:all: --python-version $(GPU_VERSION) $(CARRIED)
	@touch $@

bench-gpu: .carried/.ready ## The same on a GPU in bfloat16, as it is and compiled, at several batch sizes, with profiles
	@for b in 16 32 64 128; do for c in "" --compile; do $(GPU_BENCH) --batch-size $$b $$c --parts floor --parts model \
		--parts parts --profile profile-$$b$$c.txt -o bench-gpu-$$b$$c.json || exit; done; done
	@$(GPU_BENCH) --batch-size 64 --compile -o bench-gpu.json
	@$(GPU_BENCH) --compare bench-gpu-64.json bench-gpu-64--compile.json

tiny-model: $(READY) ## san-tiny's weights from nothing but a seed (about half an hour of four cores; goes on where it stopped)
	@$(BIN)/python -m jobs.tiny_model

format: $(READY) ## Let ruff put the code in form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what was built; the environment stays
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache demo-output
