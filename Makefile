# `make help` lists the targets. Everything is installed into .venv/ and node_modules/, never elsewhere; only the
# browser and the database server that the tests drive come from the system (scripts/test-tools.sh).

SHELL := /bin/sh
BIN := .venv/bin
PACKAGING := pyproject.toml requirements/build.lock scripts/environment.sh
# Workers of the test run. A file's tests stay on one of them, because servers, clusters and browsers are made per file.
JOBS ?= 2
# Only secrets of a known form are looked for: test vectors are full of strings that merely look random, and examples
# of settings and origins of URLs with a password.
SECRETS := $(addprefix --disable-plugin ,Base64HighEntropyString HexHighEntropyString KeywordDetector BasicAuthDetector)
# Arguments for the program that a target runs, as in: make test ARGS='-n 0 -k challenge'
ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup serve clean test cov bench fuzz check docs fmt fmt-check lint types floors spell secrets lock wheel

help: ## list the targets
	@awk 'BEGIN { FS = ":[^#]*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Run

setup: .venv/.dev-stamp ## build .venv with everything for serving, testing and checking

serve: .venv/.runtime-stamp ## start a server to play with; prints the link to open
	@exec $(BIN)/narthex dev $(ARGS)

clean: ## remove what was built: .venv, node_modules, caches, dist (not .narthex, which holds data)
	rm -rf .venv dist build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name node_modules -prune -exec rm -rf {} +
	find . -name __pycache__ -prune -exec rm -rf {} +

##@ Test

test: setup ## run all tests; installs what they drive (Chromium, PostgreSQL, Redis) where it may
	@scripts/test-tools.sh
	@$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

cov: setup ## show which branches the tests do not take
	@scripts/test-tools.sh
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet; $(BIN)/coverage report

bench: setup ## measure speed, memory and start, and compare them with the budgets (docs/benchmarks.md)
	@scripts/test-tools.sh
	@$(BIN)/python -m bench $(ARGS)

fuzz: setup ## spoil ceremonies and parsers' inputs at random, for some 20 minutes (CONTRIBUTING.md)
	@scripts/fuzz.sh $(ARGS)

check: fmt-check lint types floors spell secrets test ## all that CI checks

##@ Write

fmt: setup ## format the code and sort the imports
	@$(BIN)/ruff format
	@$(BIN)/ruff check --select I --fix

fmt-check: setup
	@$(BIN)/ruff format --check

lint: setup ## look for mistakes and banned calls
	@$(BIN)/ruff check

types: setup ## check the types
	@$(BIN)/mypy

floors: setup ## check that imports only point down the floors
	@$(BIN)/lint-imports --no-logo

spell: setup ## look for misspelt words
	@$(BIN)/codespell

secrets: setup ## look for keys and tokens that should not be kept here
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook $(SECRETS)

docs: setup ## write the reference pages that follow from tables
	@$(BIN)/python scripts/reference.py

##@ Release

lock: setup ## pin every dependency anew, a week old at least, with hashes
	@scripts/lock.sh $(ARGS)

wheel: setup ## build the wheel into dist/
	@$(BIN)/hatchling build -t wheel

.venv/.runtime-stamp: $(PACKAGING) requirements/runtime.lock
	@scripts/environment.sh runtime

.venv/.dev-stamp: $(PACKAGING) requirements/dev.lock
	@scripts/environment.sh dev
