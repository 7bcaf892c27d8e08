# Set-up, tests and clusters of finetune-operator. `make help` lists the targets.

CACHE ?= $(or $(FINETUNE_CACHE),$(HOME)/.cache/finetune-operator)
export FINETUNE_CACHE := $(CACHE)
UV_VERSION := 0.13.8
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# Processes that `make test` shares its files out to: one more than the two cores that it is made for, since most tests
# wait for something now and then. 0 runs them all in one, for example to stop in a debugger.
WORKERS ?= 3
.DEFAULT_GOAL := help

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | column -t -s "$$(printf '\t')"

# uv is used where it is installed; otherwise it is put into the cache, outside the checkout.
$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@python3 -c 'import venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer with venv is missing. Install it, for example: apt-get install python3 python3-venv" >&2; exit 1; }
	@python3 -m venv $(CACHE)/uv-$(UV_VERSION) && $(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet "uv==$(UV_VERSION)"

.venv/.ready: pyproject.toml uv.lock | $(UV)
	@# Compiled once here: every test and every rank starts a process, and importing uncompiled takes each of them seconds.
	@$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

.PHONY: setup
setup: .venv/.ready ## The virtual environment, from the lock

.PHONY: demo
demo: setup ## Make a base model and data, tune, and show the result; no cluster, GPU or hub
	@$(PYTHON) examples/01-lora-sft/demo.py

.PHONY: test
test: setup ## All tests that need neither root nor Docker
	@$(PYTHON) -m tests.cluster binaries --profile integration
	$(PYTEST) -n $(WORKERS) --dist loadfile tests/trainer tests/unit tests/integration $(ARGS)

.PHONY: unit
unit: setup ## The tests that take seconds
	$(PYTEST) tests/unit $(ARGS)

.PHONY: e2e
e2e: setup ## Real pods on a real cluster: needs root on Linux, or Docker
	$(PYTEST) tests/e2e $(ARGS)

.PHONY: lint
lint: setup ## Format, lint, types and layers
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	@# Most of what mypy reads is other people's and the same in every checkout: its cache is kept where all share it.
	$(PYTHON) -m mypy --num-workers 2 --cache-dir $(CACHE)/mypy
	.venv/bin/lint-imports

.PHONY: format
format: setup ## Write the format
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

.PHONY: crds
crds: setup ## Generate crds/ and docs/reference.md from the models
	$(PYTHON) -m tests.generate

.PHONY: cluster
cluster: setup ## A real cluster on this machine for trying things by hand
	@$(PYTHON) -m tests.cluster up --node

.PHONY: cluster-down
cluster-down: setup ## Take it down again
	@$(PYTHON) -m tests.cluster down

.PHONY: images
images: setup ## Build both images and load them into the cluster
	@$(PYTHON) -m tests.cluster images

.PHONY: clean
clean: ## Remove what the targets made in the checkout
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache
