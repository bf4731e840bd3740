# Two commands matter: `make demo` and `make test`. Both install what they need into .venv first.
#
# On Linux the default torch of PyPI brings CUDA with it (gigabytes). For the CPU build:
#   make install PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test lint kill-test targets bench lock clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "elman needs Python 3.11 or newer; found $$($(PYTHON) --version). Fix: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. Fix on Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	-$(BIN)/elman data sentiment
	@touch $(STAMP)

demo: install
	$(BIN)/elman demo

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest

kill-test: install  # 200 runs killed at random moments and resumed; minutes
	ELMAN_KILLS=200 $(BIN)/pytest tests/training/test_training_kill.py

targets: install  # the recipes' promised figures, measured over seeds; writes benchmarks/results; minutes
	$(BIN)/python benchmarks/sentiment.py

bench: install  # the drop-ins beside the classes they replace; writes benchmarks/results; minutes
	$(BIN)/python benchmarks/drop_in.py

lock: install
	$(BIN)/pip freeze --exclude-editable --exclude elman | sed 's/+cpu//' > .constraints.new
	{ sed -n '/^#/p' constraints.txt; cat .constraints.new; } > .constraints.both
	mv .constraints.both constraints.txt
	rm .constraints.new

clean:
	rm -rf $(VENV) build dist
