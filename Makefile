# Two commands matter: `make demo` and `make test`. Both install what they need into .venv first.
#
# On Linux the default torch of PyPI brings CUDA with it (gigabytes). For the CPU build:
#   make install PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ifeq ($(origin CXX),default)
CXX := c++
endif
CMAKE = $(BIN)/cmake -S . -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja)
CMAKE_DRIVER = $(CMAKE) -DELMAN_PYTHON=OFF -DELMAN_DRIVER=ON

.PHONY: install native demo test lint sanitize arm kill-test targets bench lessons grid lock clean

install: $(STAMP) native

$(STAMP): pyproject.toml constraints.txt $(wildcard build_backend/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "elman needs Python 3.11 or newer; found $$($(PYTHON) --version). Fix: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. Fix on Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	-$(BIN)/elman data sentiment
	@touch $(STAMP)

# The extension, into src/elman; ninja knows what has changed. A compiler that fails is an error, none at all is not.
native: $(STAMP)
	@if command -v $(CXX) >/dev/null; then $(MAKE) -s --no-print-directory build/native/build.ninja && \
	  $(BIN)/cmake --build build/native; \
	else echo "no C++ compiler ($(CXX)): elman runs without its engine, slower. Fix on Debian: apt-get install g++, then make native"; fi

build/native/build.ninja: $(STAMP)
	$(CMAKE) --fresh -B build/native -DELMAN_IN_PLACE=ON -DCMAKE_CXX_COMPILER=$(CXX) \
	  -DPython_EXECUTABLE=$(abspath $(BIN)/python)
	@touch $@

demo: install
	$(BIN)/elman demo

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Where there is a compiler, tests of the engine fail without the engine; elsewhere they are left out and counted.
test: lint
	@if command -v $(CXX) >/dev/null; then export ELMAN_REQUIRE_NATIVE=1; fi; $(BIN)/pytest

# What the driver runs: the step programs of every cell, each a forward and a backward text.
TEXTS = build/texts
write_texts = rm -rf $(TEXTS) && $(BIN)/python tests/engine/write_texts.py $(TEXTS)

sanitize: $(STAMP)  # csrc/driver.cpp and the core, without Python: memory and undefined behaviour, then data races
	$(write_texts)
	$(CMAKE_DRIVER) -B build/sanitize-address -DCMAKE_CXX_COMPILER=$(CXX) -DELMAN_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize-address
	build/sanitize-address/elman_driver $(TEXTS)
	$(CMAKE_DRIVER) -B build/sanitize-thread -DCMAKE_CXX_COMPILER=$(CXX) -DELMAN_SANITIZE=thread
	$(BIN)/cmake --build build/sanitize-thread
	build/sanitize-thread/elman_driver $(TEXTS)

QEMU = $(firstword $(shell command -v qemu-aarch64-static qemu-aarch64))
arm: $(STAMP)  # the same program for aarch64, run under emulation
	@command -v aarch64-linux-gnu-g++ >/dev/null || \
	  { echo "no compiler for aarch64. Fix on Debian: apt-get install g++-aarch64-linux-gnu"; exit 2; }
	@test -n "$(QEMU)" || { echo "no emulator for aarch64. Fix on Debian: apt-get install qemu-user-static"; exit 2; }
	$(write_texts)
	$(CMAKE_DRIVER) -B build/arm -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static
	$(BIN)/cmake --build build/arm
	$(QEMU) build/arm/elman_driver $(TEXTS)

kill-test: install  # 200 runs killed at random moments and resumed; minutes
	ELMAN_KILLS=200 $(BIN)/pytest tests/training/test_training_kill.py

targets: install  # the recipes' promised figures, measured over seeds; writes benchmarks/results; an hour
	$(BIN)/python benchmarks/recipes.py

bench: install  # the engine beside torch.nn, JAX and ONNX Runtime; writes benchmarks/results; half an hour, on a quiet machine
	$(BIN)/pip install -q --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.engine
	for each in stream wrappers cell_times other_cells; do $(BIN)/python benchmarks/$$each.py || exit; done

lessons: install  # what cells learn, the adding problem, verdicts on random networks; writes benchmarks/results; an hour on one core
	for each in learning adding_problem compare_names verdicts; do $(BIN)/python benchmarks/$$each.py || exit; done

grid: install  # the engine's whole grid of sizes against the definition in double precision; minutes
	ELMAN_REQUIRE_NATIVE=1 ELMAN_FULL_GRID=1 $(BIN)/pytest tests/engine

lock: install
	$(BIN)/pip freeze --exclude-editable --exclude elman | sed 's/+cpu//' > .constraints.new
	{ sed -n '/^#/p' constraints.txt; cat .constraints.new; } > .constraints.both
	mv .constraints.both constraints.txt
	rm .constraints.new

clean:
	rm -rf $(VENV) build dist src/elman/_native.*.so
