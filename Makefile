# Every command of the project. `make` alone lists them.
# PYTHON=/path/to/python chooses the interpreter for .venv; 3.11 or later.

.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

RUN := .venv/bin/python -m
# Tests wait for sockets half of their time, so four workers keep two cores busy. One file runs on one
# of them: its module-wide fixtures (servers, replays) are made once.
SPREAD := -n 4 --dist loadfile
# The tests that codecs, dialects and replay kit are covered by.
JUDGES := tests/wire tests/providers tests/testing

# Text from the command line travels in the environment, unexpanded: a question may hold quotes,
# dollars and spaces without make or the shell reading anything into it.
unexport PROVIDER QUESTION
ifdef PROVIDER
export PENSTOCK_DEMO_PROVIDER = $(value PROVIDER)
endif
ifdef QUESTION
export PENSTOCK_DEMO_QUESTION = $(value QUESTION)
endif
export PYTHON

.PHONY: help
help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
	while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: ## make .venv from the locked, hash-checked requirements
	@tools/setup

.PHONY: check
check: setup ## form, types, import rules, sizes, freshness of the docs
	@$(RUN) ruff format --check --quiet . || { echo "check: 'make fix' formats these"; exit 1; }
	@$(RUN) ruff check --quiet .
	@$(RUN) mypy
	@said=$$(.venv/bin/lint-imports --no-cache 2>&1) || { echo "$$said"; exit 1; }
	@$(RUN) tools.check_habits
	@$(RUN) tools.generate_docs --check

.PHONY: fix
fix: setup ## put the form right and renew the generated pages
	@$(RUN) ruff check --fix --quiet . || true
	@$(RUN) ruff format --quiet .
	@$(RUN) tools.generate_docs
	@$(RUN) ruff check --quiet .

.PHONY: test
test: setup ## unit, replay, socket and sandbox tests, under three minutes
	@$(RUN) pytest -m "not slow" -q $(SPREAD) $(ARGS)

.PHONY: test-all
# The browser's driver keeps a loop running, so its tests have a process of their own.
test-all: setup ## the slow rest: browser, foreign clients, package built and installed, coverage
	@$(RUN) pytest -m slow -q $(SPREAD) --ignore=tests/browser $(ARGS)
	@$(RUN) pytest -m slow -q tests/browser $(ARGS)
	@$(RUN) tools.check_package
	@$(MAKE) coverage

.PHONY: coverage
coverage: setup ## branch coverage of codecs, dialects and replay kit; fails under 95 %
	@$(RUN) pytest -m "not slow" -q --no-header --cov --cov-report=term -n auto --dist loadfile $(JUDGES) $(ARGS)

.PHONY: demo
demo: setup ## every back end answers here: PROVIDER=... QUESTION="..." narrow it
	@.venv/bin/penstock demo

.PHONY: serve
serve: setup ## the gateway and its page; ARGS=--sandbox needs no account
	@$(RUN) tools.build_page
	@.venv/bin/penstock serve $(ARGS)

.PHONY: bench
bench: setup ## speed, memory and size against the budget; ARGS=--peers measures others beside it
	@$(RUN) benchmarks $(ARGS)

.PHONY: docs
docs: setup ## build the documentation into site/, every warning an error
	@$(RUN) tools.generate_docs --check
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet
	@echo "docs: site/index.html"

.PHONY: lock
lock: setup ## renew requirements/*.txt from pyproject.toml
	@tools/setup --lock

.PHONY: clean
clean: ## remove everything that was made, .venv and caches included
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@rm -rf .coverage .coverage.* site dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
