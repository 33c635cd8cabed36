# Entry points. Everything is installed into this clone or a per-user cache; nothing needs to be on the machine but
# Python 3.11 or newer, make and the package registries.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(shell command -v uv || echo .local/uv/bin/uv)
RUN := .venv/bin/python -m
export UV_PYTHON_DOWNLOADS := never
# Without both each process compiles what it imports anew where the machine forbids writing bytecode.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
export UV

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit e2e backends fuzz mutants bench build build-tests up down status docs pack-policies dist install clean clean-cache

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@du -sh "$${XDG_CACHE_HOME:-$$HOME/.cache}/pull-secrets-local" 2> /dev/null | awk '{print "\nBuilt programs: " $$1 " in " $$2}'

demo: .venv/.installed ## The main job on a real control plane: set up, prove delivery, roll out in waves, rotate
	@$(RUN) local demo

test: build-tests lint unit e2e ## Every check: lint, types, unit and component tests, end to end on the real control plane

lint: .venv/.installed ## Style, types, pipelines and the image
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/pyright
	@$(RUN) local build actionlint
	$$($(RUN) local.toolchain actionlint)
	.venv/bin/hadolint Dockerfile
	.venv/bin/zizmor --quiet --offline .
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml .ci/gitlab-stacks.yml
	.venv/bin/check-jsonschema --quiet --schemafile docs/stack.schema.json Pulumi.dev.yaml Pulumi.prod.yaml

unit: build-tests ## Tests that need no running control plane
	.venv/bin/pytest -q -m "not controlplane and not backends" -n auto --dist loadfile

e2e: build-tests ## Tests on real control planes: the one of `make up`, left running, one that they break, one with a real node
	.venv/bin/pytest -q -m controlplane -n 3 --dist loadscope --durations 15

# On demand, and in no pipeline: it builds an S3 server, and PostgreSQL has to be on the machine.
backends: .venv/.installed build ## Backends that hold a team's state: killed runs, locks, servers that go away
	@$(RUN) local build versitygw
	.venv/bin/pytest -q -m backends tests/backends

fuzz: .venv/.installed ## A minute of broken credentials and images: no traceback, no leak
	@$(RUN) tests.fuzz 60

mutants: .venv/.installed ## Small changes of what guards the promises, and which of them no unit test notices: MUTANTS=50 for a sample
	@$(UV) sync --locked --quiet --group mutants
	@$(RUN) tests.mutants $(MUTANTS)

# Terraform takes part where PEER_TERRAFORM and PEER_TERRAFORM_PROVIDER name it and its kubernetes provider.
bench: .venv/.installed build ## Timings for 25, 100, 400 and 1,000 tenants, beside peers, rotations, fleets, audits, lints and GitOps checks; asserts nothing
	@$(RUN) local bench
	@$(RUN) local bench --peer
	@$(RUN) local bench --rotation
	@$(RUN) local bench --fleet
	@$(RUN) local bench --audit
	@$(RUN) local bench --lint
	@$(RUN) local bench --gitops

build: .venv/.installed ## Build the control plane's programs into the per-user cache; a no-op once built
	@$(RUN) local build

# In one go, so that nothing is downloaded twice.
build-tests: .venv/.installed
	@$(RUN) local build --tests

up: .venv/.installed build ## Start the control plane
	@$(RUN) local up

down: ## Stop everything that was started
	@test ! -x .venv/bin/python || $(RUN) local down

status: .venv/.installed ## Show the control plane's components
	@$(RUN) local status

docs: .venv/.installed ## Write the generated pages: policies, diagnoses, configuration and its schema
	.venv/bin/python -m pullsecrets.packs.document
	.venv/bin/python -m pullsecrets.components.document
	.venv/bin/python -m pullsecrets.doctor.document
	.venv/bin/python -m pullsecrets.config.document

pack-policies: .venv/.installed ## Build a self-contained folder per policy pack into build/
	.venv/bin/python -m pullsecrets.packs.package

dist: .venv/.installed build ## Wheel, sdist, packs and SBOM into dist/, and the wheel tried in an empty folder and environment
	rm -rf dist
	$(UV) build --quiet --out-dir dist
	$(UV) export --quiet --locked --no-default-groups --all-extras --format cyclonedx1.5 --output-file dist/sbom.cdx.json
	@$(RUN) pullsecrets.packs.package build/policy-packs
	tar --create --gzip --file dist/policy-packs.tar.gz --directory build policy-packs
	PULL_SECRETS_WHEEL=$$(echo $(CURDIR)/dist/*.whl) .venv/bin/pytest -q -m controlplane tests/e2e/beside/test_stranger.py -k previews

install: .venv/.installed ## Install the pinned dependencies into .venv

# The pinned environment; uv itself is fetched from the package index when the machine has none.
.venv/.installed: pyproject.toml uv.lock
	@test -x "$(UV)" || command -v "$(UV)" > /dev/null || \
		{ $(PYTHON) -m venv .local/uv && .local/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(UV) sync --locked --quiet --python $(PYTHON)
	@touch $@

clean: down ## Stop the control plane and remove this clone's state; the per-user cache stays
	rm -rf .local .venv mutants

clean-cache: .venv/.installed ## Remove the built programs too, for every clone of this user
	@$(RUN) local clean-cache
