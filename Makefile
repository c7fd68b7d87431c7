# Every command a contributor needs; `make help` lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTO := $(wildcard proto/offpath/v1/*.proto proto/offpath/inference/v2/*.proto proto/offpath/admin/v1/*.proto)

.PHONY: help demo watch test check format lint types imports proto proto-fresh dashboards \
	dashboards-fresh tests figures fix pins clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY) ## Watch Offpath pass clean images and flag attacked ones
	$(BIN)/offpath demo

watch: $(READY) ## Load Offpath beside a Prometheus and print the dashboards' figures; ARGS='--seconds 60'
	$(BIN)/python -m deploy.watch $(ARGS)

test: check ## Everything CI runs

check: format lint types imports proto-fresh dashboards-fresh tests ## Format, lint, types, import rules, generated files, tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

proto: $(READY) ## Generate the Python code of the protocol
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto/gen --pyi_out=proto/gen --grpc_python_out=proto/gen $(PROTO)

proto-fresh: $(READY)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out="$$fresh" --pyi_out="$$fresh" --grpc_python_out="$$fresh" $(PROTO) && \
	diff -r --exclude=__pycache__ "$$fresh" proto/gen || \
	{ echo "proto/gen should be what protoc makes of proto/. Run: make proto"; exit 1; }

dashboards: $(READY) ## Generate the JSON of the Grafana dashboards
	$(BIN)/python -m deploy.grafana

dashboards-fresh: $(READY)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(BIN)/python -m deploy.grafana "$$fresh" && diff -r "$$fresh" deploy/grafana/dashboards || \
	{ echo "deploy/grafana/dashboards should be what deploy/grafana makes. Run: make dashboards"; exit 1; }

tests: $(READY)
	$(BIN)/pytest

figures: $(READY) ## Measure every published figure, some two hours; ARGS='--json' or '--only NAME'
	$(BIN)/python -m tests.figures $(ARGS)

fix: $(READY) ## Format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: ## Renew the pinned versions and hashes in requirements/
	bash requirements/renew.sh

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
