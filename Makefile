# `make test` and `make demo` work in a fresh clone: each sets up .venv by itself first.

PYTHON ?= python3
JOBS ?= 2
EXAMPLES ?= 1000
MINUTES ?= 60
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORKS := .venv-integrations
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.ready-docs
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "MGUP needs Python 3.10 or newer and $(PYTHON) is not; name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(DOCS_READY): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

.PHONY: setup
setup: $(READY)  ## Make .venv with all that development needs

.PHONY: test
test: $(READY)  ## Lint, type-check, and run the fast tests, side by side
	@$(MAKE) --no-print-directory --jobs 2 lint units

# Half of the tests in their order to each worker, so that it loads and compiles for its own; the
# tests of types come after mypy (lint), whose cache would otherwise be filled twice at once.
.PHONY: units
units: $(READY)  ## Run the fast tests only
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal --ignore conformance/tests/typing

.PHONY: lint
lint: $(READY)  ## Lint and type-check only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --quiet conformance/tests/typing
	$(BIN)/python adapters/write_stubs.py --check

.PHONY: slow
slow: $(READY)  ## Run the tests that take minutes
	$(BIN)/pytest -m slow --numprocesses $(JOBS) --dist worksteal

.PHONY: processors
processors: $(READY)  ## Run the tests of the core and the adapters as other processors would
	$(BIN)/python conformance/processors.py --numprocesses $(JOBS)

$(FRAMEWORKS)/.ready: pyproject.toml constraints.txt constraints-integrations.txt
	$(PYTHON) -m venv --clear $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --constraint constraints.txt \
	  --constraint constraints-integrations.txt --editable '.[conformance,compiled,jax,integrations]'
	@touch $@

.PHONY: integrations
integrations: $(FRAMEWORKS)/.ready  ## Train tiny models in the frameworks of others, each installed
	$(FRAMEWORKS)/bin/pytest -W default conformance/tests/integrations \
	  conformance/tests/examples/test_watch.py

.PHONY: fuzz
fuzz: $(READY)  ## Train at random beside the NumPy reference: make fuzz EXAMPLES=1000
	MGUP_FUZZ=$(EXAMPLES) $(BIN)/pytest conformance/tests/fuzz --numprocesses $(JOBS)

.PHONY: mutants
mutants: $(READY)  ## Change the library at random and see that a test fails; goes on where it stopped
	$(BIN)/python conformance/trust/named.py
	$(BIN)/python conformance/trust/mutants.py --minutes $(MINUTES) --jobs $(JOBS)

.PHONY: faults
faults: $(READY)  ## Kill, signal, starve and corrupt, and count what survives
	$(BIN)/python conformance/trust/faults.py
	$(BIN)/python conformance/trust/faults_frameworks.py

.PHONY: soak
soak: $(READY)  ## Train for an hour with each framework, in which nothing may grow
	$(BIN)/python conformance/trust/soak.py torch jax mindspore --minutes $(MINUTES)

.PHONY: arm
arm: $(READY)  ## Run the compact suite on aarch64, emulated; on Debian, 1.5 GB into runs/arm
	$(BIN)/python conformance/arm.py

.PHONY: matrix
matrix: $(READY)  ## Run the standard conformance set on every backend and write docs/conformance.md
	@mkdir -p runs
	$(BIN)/mgup-conformance run --backend all --backend torch_compiled --json runs/matrix.json
	$(BIN)/mgup-conformance report runs/matrix.json $(lastword $(sort $(wildcard docs/benchmarks/*-arm.json))) \
	  --keep docs/conformance.json --json docs/conformance.json
	$(BIN)/mgup-conformance report docs/conformance.json --markdown docs/conformance.md

.PHONY: demo
demo: $(READY)  ## Train a small language model with six optimizers and draw the curves
	$(BIN)/python examples/train_lm.py

.PHONY: bench
bench: $(READY)  ## Time a step beside the optimizers of torch.optim
	$(BIN)/python conformance/benchmarks/torch_cpu.py

.PHONY: format
format: $(READY)  ## Format the sources in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: stubs
stubs: $(READY)  ## Write the stubs from which type checkers learn the optimizers' arguments
	$(BIN)/python adapters/write_stubs.py

.PHONY: docs
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS_READY)  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict
	$(BIN)/python docs/check_site.py

.PHONY: pictures
pictures: docs  ## Take a picture of every page of site/, wide and narrow, light and dark
	$(BIN)/python docs/screenshots.py

.PHONY: clean
clean:  ## Remove everything that is not source, .venv included
	rm -rf $(VENV) $(FRAMEWORKS) build dist site runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
