# Every target sets up what it needs in .venv. One stamp per set of extras, renewed when pyproject.toml or
# constraints.txt change, lets the second run of a target start at once.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format types bench docs clean

venv := .venv/bin
stamp := .venv/.installed
pip := $(venv)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(stamp)-demo ## train plain and regularized models side by side; prints a table, writes a figure
	@$(venv)/pyndereg demo

test: $(stamp)-test ## run every test
	@$(venv)/python -m pytest -m ""

lint: $(stamp)-lint ## check format and lint rules
	@$(venv)/ruff format --check .
	@$(venv)/ruff check .

format: $(stamp)-lint ## format the code and fix what ruff can fix
	@$(venv)/ruff format .
	@$(venv)/ruff check --fix .

types: $(stamp)-lint ## check the types
	@$(venv)/pyright

bench: $(stamp)-bench ## measure pyndereg beside other libraries, in an hour or more; ARGS=--quick: in ten minutes
	@OMP_NUM_THREADS=1 $(venv)/python -m benchmarks.work_precision $(ARGS)

docs: $(stamp)-docs ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(venv)/mkdocs build --quiet --strict

clean: ## remove .venv, caches and builds; results in runs/ stay
	@rm -rf .venv .venv-bench-* build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find pyndereg tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(stamp)-demo: extras := experiments,plots
$(stamp)-test: extras := test,experiments,plots
$(stamp)-lint: extras := lint,experiments,plots
$(stamp)-bench: extras := bench,experiments,plots
$(stamp)-docs: extras := docs

$(stamp)-%: pyproject.toml constraints.txt | $(venv)/python
	@echo "Installing pyndereg[$(extras)] into .venv (minutes where PyTorch has to be downloaded)"
	@$(pip) -e ".[$(extras)]"
	@touch $@

# The first interpreter of a supported version; python3 alone decides on most machines.
$(venv)/python:
	@found=""; \
	for candidate in python3 python3.13 python3.12 python3.11 python3.10; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then \
	    found=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "pyndereg needs Python 3.10, 3.11, 3.12 or 3.13, but python3 is" \
	    "$$(python3 --version 2>/dev/null || echo missing); install one of these versions and run make again." >&2; \
	  exit 1; \
	fi; \
	$$found -m venv --clear .venv || { \
	  rm -rf .venv; \
	  echo "$$found could not create .venv; on Debian and Ubuntu install the package python3-venv." >&2; \
	  exit 1; \
	}
