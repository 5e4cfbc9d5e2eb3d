# make bench   install into .venv, run a suite and report it: smoke_gpu, or smoke without a GPU;
#              another with SUITE=name
# make test    lint, types, import layers, spelling, workflow schemas, then the tests
# make lint    the same without the tests
# make browser-test   test the report's page in Chromium, which must be installed; later runs of
#              make test include it
# make release-check   build the wheel and the source distribution into dist/, install each into an
#              empty environment and try it, with type checkers
# make fuzz    fuzz the loaders of files, a minute each; longer with SECONDS=600
# make docs    build the site into site/
# make clean   remove .venv, site/ and caches; results/ stays

PYTHON ?= python3
SECONDS ?= 60
SUITE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo smoke_gpu || echo smoke)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -P -m pip install --disable-pip-version-check --quiet -c constraints.txt

# Without an NVIDIA GPU the CPU build of PyTorch suffices, some GB smaller; its index may be unreachable.
# It comes alone and first: no index may add to what another one has.
CPU_INDEX := https://download.pytorch.org/whl/cpu
CPU_INDEX_ANSWERS := import urllib.request as r; r.urlopen('$(CPU_INDEX)/torch/', timeout=5)

.PHONY: bench test lint browser-test docs fuzz release-check clean

bench: $(VENV)/.installed
	$(BIN)/radialbench run $(SUITE) -o results/$(SUITE) --resume
	$(BIN)/radialbench report results/$(SUITE)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml ci/measure-on-comment.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci ci/gitlab.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

browser-test: $(VENV)/.browser
	$(BIN)/python -m pytest -m browser

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m fuzz.run --seconds $(SECONDS)

release-check: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -P -m hatchling build -d dist
	for file in dist/*; do PYTHON=$(PYTHON) ci/try_dist.sh $$file || exit 1; done

clean:
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "radialbench needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
		"try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing radialbench into $(VENV); PyTorch and Triton are large, so this takes a while."
	@command -v nvidia-smi >/dev/null \
		|| ! $(BIN)/python -P -c "$(CPU_INDEX_ANSWERS)" 2>/dev/null \
		|| $(INSTALL) --no-deps --index-url $(CPU_INDEX) torch
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.browser: $(VENV)/.dev
	$(INSTALL) -e '.[browser]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(INSTALL) -e '.[fuzz]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	@touch $@
