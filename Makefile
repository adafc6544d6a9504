# Everything below does its own set-up: a machine needs Python 3.11 and make (and Docker for `image`).
#   make demo         example cases, predictions, scores, pictures
#   make test         the whole test suite
#   make help         all targets
# Variables: PYTHON (3.11), VENV (.venv), TORCH_PIP_ARGS (where the CPU build of torch comes from), IMAGE, PYTEST_ARGS.

PYTHON ?= $(firstword $(shell command -v python3.11) python3)
VENV ?= .venv
IMAGE ?= graysam
DEMO ?= demo
PYTEST_ARGS ?=
# One place says where torch's CPU build lies: the Dockerfile. On Linux the ordinary index has the CUDA build.
TORCH_PIP_ARGS ?= $(shell sed -n 's/^ARG TORCH_PIP_ARGS="\(.*\)"$$/\1/p' Dockerfile)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
REQUIRE_SMALL := requirements/base.txt requirements/openvino.txt requirements/evaluation.txt
REQUIRE_DOCS := requirements/docs.txt
REQUIRE_ALL := $(REQUIRE_SMALL) requirements/torch.txt requirements/files.txt requirements/prep.txt requirements/train.txt requirements/view.txt requirements/dev.txt $(REQUIRE_DOCS)
SMALL := $(VENV)/.small
ALL := $(VENV)/.all
DOCS := $(VENV)/.docs

.PHONY: help demo test check format image image-torch image-test bench train-smoke weights-litemedsam docs setup clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

# --- set-up: a stamp for each set of packages, so that the second call costs nothing -----------------------------------
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is wanted; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(SMALL): $(REQUIRE_SMALL) | $(BIN)/python
	$(PIP) $(addprefix -r ,$(REQUIRE_SMALL))
	@touch $@

# torch first and alone, so that nothing else can bring another build of it; where its own index cannot be reached,
# whatever pip is set up with on this machine.
$(ALL): $(REQUIRE_ALL) | $(BIN)/python
	$(PIP) --no-deps $(TORCH_PIP_ARGS) $$(grep '^torch==' requirements/torch.txt) || $(PIP) --no-deps $$(grep '^torch==' requirements/torch.txt)
	$(PIP) $(addprefix -r ,$(REQUIRE_ALL))
	@touch $@ $(SMALL) $(DOCS)

$(DOCS): $(REQUIRE_DOCS) | $(BIN)/python
	$(PIP) $(addprefix -r ,$(REQUIRE_DOCS))
	@touch $@

setup: $(ALL) ## Make the virtual environment with everything in it.

# --- use --------------------------------------------------------------------------------------------------------------
demo: $(SMALL) ## Make example cases, predict, score and draw them (no torch, no download of data).
	$(BIN)/python examples/phantoms.py --output $(DEMO)
	$(BIN)/python predict.py --input $(DEMO)/inputs --output $(DEMO)/outputs --overlay $(DEMO)/overlays --report $(DEMO)/run.json
	$(BIN)/python -m evaluation.score --segs $(DEMO)/outputs --gts $(DEMO)/gts --out $(DEMO)/scores.csv --mode honest
	$(BIN)/python examples/gallery.py $(DEMO)/overlays --output $(DEMO)/overview.png
	@echo
	@echo "Look at $(DEMO)/overview.png (each picture in $(DEMO)/overlays), the scores in $(DEMO)/scores.csv and the"
	@echo "seconds in $(DEMO)/run.json. The drawn cases show that everything works, not how good it is on patients."

bench: $(ALL) ## Measure speed and memory on this machine; writes benchmarks/results.
	$(BIN)/python -m benchmarks.model_cost --json benchmarks/results/model_cost.json
	$(BIN)/python -m benchmarks.startup --out benchmarks/results/startup.json

train-smoke: $(ALL) ## Prepare, train, validate, export and predict on phantoms, in about two minutes.
	rm -rf runs/smoke
	$(BIN)/python -m benchmarks.smoke --out runs/smoke

docs: $(DOCS) ## Build the documentation into site/; a dead link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Look at site/index.html."

weights-litemedsam: $(ALL) ## Download LiteMedSAM's released weights (38 MB) and export them to weights/litemedsam.
	$(BIN)/python -m benchmarks.litemedsam --out weights/litemedsam

# --- checks -----------------------------------------------------------------------------------------------------------
test: $(ALL) ## Run the whole test suite.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(ALL) ## Lint, formatting, types, and who imports whom.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(ALL) ## Put the sources into the house format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- images -----------------------------------------------------------------------------------------------------------
BUILD := docker build --build-arg VERSION=$$($(PYTHON) -c 'import graysam; print(graysam.__version__)') \
	--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(DOCKER_BUILD_ARGS)

image: ## Build the image (OpenVINO, no torch).
	DOCKER_BUILDKIT=1 $(BUILD) --target runtime -t $(IMAGE) .

image-torch: ## Build the image that runs torch.
	DOCKER_BUILDKIT=1 $(BUILD) --target runtime-torch --build-arg TORCH_PIP_ARGS='$(TORCH_PIP_ARGS)' -t $(IMAGE)-torch .

image-test: $(ALL) ## Build both images and run them as the judges do.
	$(BIN)/python -m pytest -m docker $(PYTEST_ARGS)

clean: ## Remove the virtual environment, the demonstration and caches.
	rm -rf $(VENV) $(DEMO) site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
