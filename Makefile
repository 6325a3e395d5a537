# todm: the two commands are `make demo` and `make test`; `make help` lists the rest.
#
# Each target first runs `make setup`, which makes .venv and installs what requirements.lock
# pins. It does nothing when that is done already, and starts over when the lock changes.

# --- Settings (make NAME=VALUE) ---------------------------------------------------------------
# cpu, or cuda for torch's CUDA build (Linux; brings the nvidia packages, several GB)
DEVICE ?= cpu
# Where torch's wheel comes from when pip's own configuration does not have it. For DEVICE=cuda
# empty means PyPI; https://download.pytorch.org/whl/cu126 or a mirror are possible too.
ifeq ($(DEVICE),cuda)
TORCH_INDEX ?=
else
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif
# Another index for all other packages; empty means pip's configured one
PIP_INDEX ?=
# The Python that makes .venv: 3.11 to 3.13
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$p -c 'import sys; print("$p" if (3, 11) <= sys.version_info[:2] < (3, 14) else "")' \
	2>/dev/null)))
# A folder of real corpora for `make demo` and `make bench`; without it the demo synthesises one
CORPUS_DIR ?=
# Further arguments
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
NATIVE_ARGS ?=

# --- Names ------------------------------------------------------------------------------------
BIN := .venv/bin
STAMP := .venv/.setup-$(DEVICE)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)
# On Linux plain torch is the CUDA build and the CPU build carries the local version "+cpu";
# on macOS there is one build, without a local version.
CPU_SUFFIX := $(if $(filter Linux,$(shell uname -s)),+cpu)
PIP := $(BIN)/python -m pip --disable-pip-version-check --timeout 20 --retries 1
INSTALL := $(PIP) install -qq $(if $(PIP_INDEX),--index-url $(PIP_INDEX))

.PHONY: help setup demo test test-slow check fmt bench native runner node arm64 clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo "Settings: DEVICE=cpu|cuda  TORCH_INDEX=URL  PIP_INDEX=URL  PYTHON=python3.x"
	@echo "          CORPUS_DIR=FOLDER  DEMO_ARGS='...'  TEST_ARGS='...'  BENCH_ARGS='...'"

# --- Set-up -----------------------------------------------------------------------------------
setup: $(STAMP) ## make .venv with everything pinned (DEVICE=cuda for the CUDA build of torch)

$(STAMP): requirements.lock pyproject.toml
	@case "$(DEVICE)" in cpu|cuda) ;; *) echo "setup: DEVICE is cpu or cuda" >&2; exit 2;; esac
	@test -n "$(PYTHON)" || { echo "setup: needs Python 3.11, 3.12 or 3.13; none found; say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@rm -f .venv/.setup-*
	@test -x $(BIN)/python || { echo "setup: making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "setup: torch $(TORCH_VERSION) ($(DEVICE)) ..."
	@$(MAKE) --no-print-directory torch-$(DEVICE)
	@echo "setup: the packages of requirements.lock ..."
	@$(INSTALL) --no-deps -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done; the command is $(BIN)/todm"

# First from where pip is configured to look (an answer of "no such version" comes at once),
# then from TORCH_INDEX. Never the CUDA build.
.PHONY: torch-cpu torch-cuda
torch-cpu:
	@$(INSTALL) --no-deps "torch==$(TORCH_VERSION)$(CPU_SUFFIX)" 2>/dev/null \
	|| $(PIP) install --no-deps --index-url $(TORCH_INDEX) "torch==$(TORCH_VERSION)$(CPU_SUFFIX)" \
	|| { echo "setup: no CPU build of torch $(TORCH_VERSION) at $(TORCH_INDEX) or where pip looks; say make setup TORCH_INDEX=URL of a wheel index that has it" >&2; exit 2; }

# Here torch's own dependencies are wanted. "===" does not accept an installed "+cpu" build.
torch-cuda:
	@$(if $(TORCH_INDEX),$(PIP) uninstall --quiet --yes torch 2>/dev/null;) \
	$(if $(TORCH_INDEX),$(PIP) install --index-url $(TORCH_INDEX) "torch==$(TORCH_VERSION)",$(INSTALL) "torch===$(TORCH_VERSION)") \
	|| { echo "setup: no CUDA build of torch $(TORCH_VERSION) at $(or $(TORCH_INDEX),the configured index); say make setup DEVICE=cuda TORCH_INDEX=URL" >&2; exit 2; }

# --- Use --------------------------------------------------------------------------------------
demo: setup ## from audio to measured device artifacts, at most 10 minutes on 2 cores
	$(BIN)/todm demo $(if $(CORPUS_DIR),--corpus-dir "$(CORPUS_DIR)") $(DEMO_ARGS)

bench: setup ## the figures of the README (benchmarks/results); BENCH_ARGS=--quick for a minute
	$(if $(CORPUS_DIR),TODM_CORPORA="$(CORPUS_DIR)") $(BIN)/python benchmarks/spine.py $(BENCH_ARGS)

native: setup ## todm's scan operator for this machine's ONNX Runtime and ExecuTorch (optional; needs g++ or clang)
	$(BIN)/python -m todm.export.native $(NATIVE_ARGS)

runner: setup ## the C++ runner of ExecuTorch bundles, in build/runner (needs cmake and a compiler)
	cmake -S todm/runtimes/csrc -B build/runner -DEXECUTORCH_PACKAGE="$$($(BIN)/python -c 'from todm.export.native import executorch_folder as f; print(f())')"
	cmake --build build/runner

# Both go to the user's cache (~/.cache/todm), or where TODM_NODE_DIR and TODM_ARM64_DIR say.
NODE_DIR := $(or $(TODM_NODE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/todm/node)
node: setup ## npm packages for `todm check --runtimes`: ONNX Runtime Web, sherpa-onnx (needs npm)
	@command -v npm >/dev/null || { echo "node: needs npm: install Node.js 20 or newer" >&2; exit 4; }
	npm install --no-fund --no-audit --prefix "$(NODE_DIR)" $$($(BIN)/python -c \
		'from todm.runtimes.tools import NODE_PACKAGES as p; print(*map("@".join, p.items()))')

arm64: setup ## an emulated aarch64 for `todm check --runtimes` (needs qemu-user and mmdebstrap)
	scripts/arm64.sh

# --- Checks -----------------------------------------------------------------------------------
test: setup ## the test suite, under 10 minutes on 2 cores
	$(BIN)/python -m pytest $(TEST_ARGS)

test-slow: setup ## the tests marked slow
	$(BIN)/python -m pytest -m slow $(TEST_ARGS)

check: setup ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict todm
	$(BIN)/lint-imports --no-logo

fmt: setup ## format and sort imports
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

clean: ## remove .venv and caches; runs/ and exports/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
