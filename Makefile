# Every entry to the project. `make help` lists them; `make demo` and `make test` are the two to know.

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo run test search test-engines soak-engines coverage check format chaos soak binary test-binary deb test-systemd bench \
	incident simulate pictures lock audit clean machine-run machine-test machine-engines machine-package
.DEFAULT_GOAL := help

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

demo: $(BIN)/.run machine-run ## Start the daemon, get two PDFs with curl, stop it
	@packaging/demo.sh

run: $(BIN)/.run machine-run ## Run the daemon in the foreground, without any configuration
	@exec $(BIN)/reportd serve

test: $(BIN)/.test machine-test ## Run the tests
	@$(BIN)/coverage run --source reportd.core -m pytest tests/core
	@$(BIN)/coverage report --skip-covered --fail-under 100
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not soak and not packaged and not engines and not timed" --ignore tests/core
	@$(BIN)/pytest -m "timed and not soak" tests/e2e tests/web/pages

test-engines: $(BIN)/.test machine-test machine-engines ## The tests on real engines, which come from their registries
	@$(BIN)/pytest -m "engines and not soak" tests/engines

soak-engines: $(BIN)/.test machine-test machine-engines ## 200 jobs on real engines while nodes are killed (SEED=n chooses which); 1,000 render tokens
	@REPORTD_TEST_SEED=$(SEED) $(BIN)/pytest -m "engines and soak" -s tests/engines

search: $(BIN)/.test ## Try the properties of the core on examples that no run has tried; a find becomes an @example
	@$(BIN)/pytest -n 2 tests/core tests/daemon/config --hypothesis-profile search

coverage: $(BIN)/.test machine-test ## Run the tests, and see what of the code they leave out; takes twice as long
	@$(BIN)/coverage run -m pytest -m "not soak and not packaged and not engines"
	@$(BIN)/coverage report --skip-covered --fail-under 90

check: $(BIN)/.test ## Lint, types, layers: all that is checked without running
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(BIN)/.test ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: $(BIN)/.test machine-test ## Kill the daemon and its browsers under 300 jobs (SEED=n chooses when)
	@REPORTD_TEST_SEED=$(SEED) $(BIN)/pytest -m soak -s tests/e2e/jobs/test_chaos.py

soak: $(BIN)/.test machine-test ## The long tests: chaos, outages over four nodes, memory over 2,000 renders
	@$(BIN)/pytest -m "soak and not engines" -s

binary: $(BIN)/.test ## Build dist/reportd, the daemon in one file
	@nice -n 10 packaging/binary/build.sh

test-binary: binary machine-run ## Build the one file, and try it in an empty folder
	@$(BIN)/pytest -m packaged tests/packaging/test_binary.py

deb: binary ## Build dist/reportd_VERSION_ARCHITECTURE.deb, the Debian package
	@nice -n 10 packaging/debian/build.sh

test-systemd: deb machine-package ## Install the package on a Debian that boots, and do to it what happens to a service
	@tests/packaging/base.sh
	@$(BIN)/pytest -m packaged tests/packaging

bench: $(BIN)/.test machine-test ## Throughput and latency as ratios to what the machine can do
	@$(BIN)/python -m tests.bench

incident: $(BIN)/.test machine-test ## What a bad report type costs a healthy one, with breakers and without (MINUTES=3 a run)
	@$(BIN)/python -m tests.bench --only incident --minutes $(or $(MINUTES),3)

simulate: $(BIN)/.test ## A fleet of up to 200 nodes over a day, with bursts and trouble; plots in out/
	@$(BIN)/python -m tests.simulation

pictures: $(BIN)/.test machine-test ## Draw the pictures of docs/TEMPLATES.md anew
	@$(BIN)/python -m tests.documents.pictures

lock: $(BIN)/.test ## Resolve the requirement files anew from pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --upgrade --group dev -o packaging/requirements-dev.txt pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --upgrade --group build -c packaging/requirements-dev.txt -o packaging/requirements.txt pyproject.toml

audit: $(BIN)/.test ## Check what is locked against an advisory database, where one can be reached
	@$(BIN)/python packaging/audit.py

clean: ## Remove what was made
	@rm -rf .venv out dist build .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

machine-run:
	@packaging/machine.sh run

machine-test:
	@packaging/machine.sh test

machine-engines:
	@packaging/machine.sh engines

machine-package:
	@packaging/machine.sh package

$(BIN)/python:
	@packaging/machine.sh run
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reportd needs Python 3.11 or newer")'
	@python3 -m venv .venv

$(BIN)/.run: packaging/requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the Python packages (locked, with hashes)"
	@$(PIP) install --no-deps --require-hashes -r packaging/requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/.test: packaging/requirements-dev.txt $(BIN)/.run
	@echo "Installing the packages for tests (locked, with hashes)"
	@$(PIP) install --no-deps --require-hashes -r packaging/requirements-dev.txt
	@touch $@
