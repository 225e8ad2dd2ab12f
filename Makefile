# What you can do here, on a machine with Python 3.11 or newer and make: run `make`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call find_python,MINORS): the first Python 3.MINOR that really starts and can make virtual
# environments. Being on PATH is not enough: pyenv leaves shims of versions that are not active, and
# some systems ship a Python without ensurepip. Installed but inactive pyenv versions count too.
find_python = $(shell \
  for minor in $(1); do \
    for python in python3.$$minor python3 "$$(pyenv root 2>/dev/null)"/versions/3.$$minor*/bin/python; do \
      "$$python" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $$minor))" \
        >/dev/null 2>&1 && { echo "$$python"; exit; }; \
    done; \
  done)

ifndef PYTHON
PYTHON := $(call find_python,14 13 12 11)
endif

# The torch release that the official code is compared with: see docs/parity.md. Searched only when used.
ifndef ORACLE_PYTHON
ORACLE_PYTHON = $(call find_python,11)
endif

BIN := .venv/bin
DEMO_IMAGE := docs/media/chelsea.jpg
DEMO_PROMPTS := --box 150,92,200,140 --box 300,110,340,155 --box 225,225,290,275
DEMO_CLIP := docs/media/clip.mp4
DEMO_OBJECT := --box 0:105,27,199,100

.PHONY: help
help: ## this list
	@echo "make <target>:"
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile
	@echo "PYTHON=... chooses the interpreter (3.11 or newer; now: $(or $(PYTHON),none found));"
	@echo "ORACLE_PYTHON=... the one of the oracle (3.11 exactly)."

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer starts here; install one or set PYTHON=..."; exit 1; }
	@echo "Installing into .venv with $$($(PYTHON) --version) ($(PYTHON)); the first time takes a minute."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

.PHONY: demo
demo: .venv/.installed ## segment a photo, track a thing through a clip, and say where to look
	$(BIN)/sam-jax segment $(DEMO_IMAGE) $(DEMO_PROMPTS) --output demo
	$(BIN)/sam-jax track $(DEMO_CLIP) $(DEMO_OBJECT) --output demo/clip.mp4
	@echo "Look at the pictures and the video in $(CURDIR)/demo"

.PHONY: test
test: .venv/.installed ## the tests that need neither PyTorch nor official weights
	@# Most of their time is the compiler's, which is done sooner where it optimises less.
	XLA_FLAGS="--xla_backend_optimization_level=1 $$XLA_FLAGS" $(BIN)/pytest -n 2 -m "not oracle and not weights and not tpu"

.PHONY: lint
lint: .venv/.installed ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ty check

.PHONY: docs
docs: .venv/.installed ## the documentation as pages, build/docs/index.html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Look at $(CURDIR)/build/docs/index.html"

# --target, because the sam2 distribution also installs a top-level package called `training`;
# --no-deps and --no-build-isolation, because its requirements would pull a second torch.
.oracle/.installed: pyproject.toml
	@test -n "$(ORACLE_PYTHON)" || { echo "The oracle needs Python 3.11 (its torch has CPU builds for that version):" \
	  "install it, or set ORACLE_PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the official PyTorch code into .oracle; the first time takes some minutes."
	@rm -rf .oracle
	@$(ORACLE_PYTHON) -m venv .oracle/venv
	@.oracle/venv/bin/pip install --quiet setuptools wheel
	@.oracle/venv/bin/pip install --quiet --editable '.[test,oracle]'
	@SAM2_BUILD_CUDA=0 .oracle/venv/bin/pip install --quiet --no-deps --no-build-isolation \
	  --target .oracle/site sam2==1.1.0 segment-anything==1.0 torchvision==0.28.0
	@touch $@

.PHONY: oracle
oracle: .oracle/.installed ## compare with the official PyTorch code (Python 3.11)
	@# The tests skip without the official code; here it must be there.
	.oracle/venv/bin/python -c "from convert import official; official.require()"
	.oracle/venv/bin/pytest -m oracle

# The TPU's compiler alone, beside .venv: where jax finds it, it looks for a TPU unless told not to.
.tpu/.installed: .venv/.installed
	@echo "Installing the TPU compiler, 640 MB, into .tpu"
	@rm -rf .tpu
	@$(BIN)/pip install --quiet --no-deps --target .tpu "$$($(BIN)/python -c \
	  'from importlib.metadata import requires; \
	  print(next(r.partition(";")[0] for r in requires("jax") if r.startswith("libtpu")))')"
	@touch $@

.PHONY: tpu
tpu: .tpu/.installed ## compile for TPUs, which need not be there; minutes
	PYTHONPATH=.tpu JAX_PLATFORMS=cpu $(BIN)/pytest -n 2 -m tpu --timeout 3600

.PHONY: clean
clean: ## remove everything these targets made
	rm -rf .venv .oracle .tpu demo build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
