# Everything here needs only bash, make and a Python of 3.11 or newer: the rest is installed, pinned
# by hash, into .venv. Run `make` to see the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Dagster refuses a relative DAGSTER_HOME. Without one, the command line chooses (and makes) its own.
ifdef DAGSTER_HOME
override DAGSTER_HOME := $(abspath $(DAGSTER_HOME))
export DAGSTER_HOME
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The installation is stamped with the content of what it was made from (not with times, which a
# fresh clone does not keep): another lock makes .venv anew, another pyproject.toml only reinstalls us.
LOCK_STAMP := $(VENV)/.lock-$(shell cksum < requirements/dev.txt | tr ' ' '-')
PROJECT_STAMP := $(VENV)/.project-$(shell cat requirements/dev.txt pyproject.toml | cksum | tr ' ' '-')

.PHONY: help
help: ## list the targets
	@echo "entra-pipeline: who has access to what in Microsoft Entra ID, and why"
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(PROJECT_STAMP) ## a simulated tenant, synced, and five questions answered (about a minute, nothing to set up)
	@$(BIN)/entra-pipeline demo

.PHONY: test
test: lint ## lint, types and the whole suite at small counts
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not soak" --durations 15

.PHONY: lint
lint: $(PROJECT_STAMP) ## ruff and mypy alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check . ; exit 1; }
	@$(BIN)/mypy

.PHONY: soak
soak: $(PROJECT_STAMP) ## the same randomised tests at full counts (long)
	@$(BIN)/pytest -n 2 --dist loadfile -m soak --timeout 7200

.PHONY: bench
bench: $(PROJECT_STAMP) ## the benchmarks, with their bounds; writes docs/performance.md
	@$(BIN)/python -m benchmarks

.PHONY: ui
ui: $(PROJECT_STAMP) ## the Dagster pages and daemon: the demo's data, or your tenant's when .env is filled
	@exec $(BIN)/entra-pipeline serve

.PHONY: venv
venv: $(PROJECT_STAMP) ## make .venv and install, without running anything

.PHONY: docs
docs: $(PROJECT_STAMP) ## write the generated parts of the documentation anew
	@$(BIN)/python -m entra_pipeline.settings_reference
	@$(BIN)/python -m entra_pipeline.tables.reference > docs/tables.md
	@$(BIN)/python -m entra_pipeline.cli.readme

.PHONY: lock
lock: ## make requirements/*.txt anew from pyproject.toml (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 2; }
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --upgrade --quiet --output-file requirements/runtime.txt
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --upgrade --quiet --constraint requirements/runtime.txt \
	  --output-file requirements/all.txt
	@uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --upgrade --quiet --constraint requirements/runtime.txt \
	  --output-file requirements/dev.txt
	@git --no-pager diff --stat -- requirements || true

.PHONY: clean
clean: ## remove .venv, .demo and caches (never your data directory or .dagster)
	@rm -rf $(VENV) .demo .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	@find entra_pipeline assets tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2> /dev/null || true

# The first of these that runs and is new enough; python3 comes first because it is what people expect.
define FIND_PYTHON
for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && python=$$candidate && break; \
done; \
if [ -z "$${python:-}" ]; then \
  echo "entra-pipeline needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1 || echo missing)." >&2; \
  echo "Install one (for example python3.12 with its venv module), or name it: make PYTHON=/path/to/python3.12" >&2; \
  exit 2; \
fi
endef

$(LOCK_STAMP):
	@$(FIND_PYTHON); \
	clear=; \
	for stamp in $(VENV)/.lock-*; do [ ! -e "$$stamp" ] || [ "$$stamp" = "$@" ] || clear=--clear; done; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $$clear $(VENV) || { \
	  echo "$$python cannot make a virtual environment: is its venv module installed (Debian, Ubuntu: apt install python3-venv)?" >&2; exit 2; }; \
	total=$$(grep -c '^[a-zA-Z0-9].*==' requirements/dev.txt); \
	echo "Installing $$total pinned packages (log: $(VENV)/install.log)"; \
	tty=0; [ ! -t 1 ] || tty=1; \
	$(BIN)/pip install --no-deps --require-hashes --only-binary :all: --progress-bar off -r requirements/dev.txt 2>&1 \
	  | tee $(VENV)/install.log \
	  | awk -v total=$$total -v tty=$$tty ' \
	      /^(Collecting|Requirement already satisfied)/ { \
	        seen++; name = ($$1 == "Collecting") ? $$2 : $$4; sub(/[=;].*/, "", name); \
	        if (tty) printf "\r\033[K  %d of about %d: %s", seen, total, name; \
	        else if (seen % 20 == 0) printf "  %d of about %d\n", seen, total; fflush() } \
	      /^Installing collected/ { \
	        if (tty) printf "\r\033[K"; print "  unpacking"; fflush() }' \
	  || { echo; echo "Installation failed; the end of $(VENV)/install.log:" >&2; tail -n 15 $(VENV)/install.log >&2; exit 3; }
	@touch $@

$(PROJECT_STAMP): | $(LOCK_STAMP)
	@$(BIN)/pip install --quiet --no-build-isolation --no-deps -e . || { echo "Installing the project itself failed" >&2; exit 3; }
	@rm -f $(VENV)/.project-*
	@touch $@
