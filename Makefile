# What a person does with this repository. `make` alone lists it.
# Everything is installed into .venv of this clone; TESTS narrows `make test`, as in TESTS=tests/unit.

.DEFAULT_GOAL := help
.PHONY: help check format test tests walk walk-operator cluster demo demo-kubernetes bench clean

PYTHON_FILES := runtime/src operator/src tests bench examples
BIN := .venv/bin
TESTS ?= tests
MINUTES ?= 10
STEPS ?= 3000
SEED ?= 0

help:
	@echo "make check             lint, types, layers, sizes"
	@echo "make format            format and sort what can be"
	@echo "make test              check, then every test, on a real Postgres and a real cluster"
	@echo "make walk              random walks over the store against its model, for MINUTES (10)"
	@echo "make walk-operator     a random walk of STEPS (3000) over the operator, which must converge"
	@echo "make demo              durable workflows on this machine, and a worker that is killed"
	@echo "make demo-kubernetes   the same manifests on a real Kubernetes node"
	@echo "make bench             enqueue, drain and latency beside other libraries"
	@echo "make clean             remove what was made in this clone"

# The extras of pyproject.toml; dev contains local.
.venv/installed-%: pyproject.toml tools/install.sh
	@tools/install.sh $*

check: .venv/installed-dev
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy $(PYTHON_FILES)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/unit/test_repository.py

format: .venv/installed-dev
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/ruff check --fix $(PYTHON_FILES)

test: check tests

# One process: the tests share one cluster and one Postgres server, and measure time.
tests: cluster
	$(BIN)/python -m pytest $(TESTS)

# Other walks than those of `make test`, and other ones each time.
walk: .venv/installed-dev
	TOWPATH_WALK_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/store/test_model.py

# The same for the operator: edits, drift, kills and outages on a real API server. SEED takes one again.
walk-operator: cluster
	TOWPATH_WALK_STEPS=$(STEPS) TOWPATH_WALK_SEED=$(SEED) $(BIN)/python -m pytest -s tests/operator/walk

# Before the tests, since a cold build takes minutes and shows how far it is.
cluster: .venv/installed-dev
	$(BIN)/python -m tests.cluster build

demo: .venv/installed-local
	@$(BIN)/python -m examples.demo

demo-kubernetes: .venv/installed-local
	@$(BIN)/python -m examples.demo kubernetes

# It has an environment of its own, with the other libraries.
bench:
	bench/bench.sh

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
