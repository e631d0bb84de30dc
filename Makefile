# `make demo` and `make test` set up everything they need in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test acceptance campaign lint format constraints clean

demo: $(READY)
	$(BIN)/jgi-stager demo --dir demo-run --replace $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 4 $(ARGS)

# The service on a booted Debian 12: needs root, systemd-container and debootstrap; says so and skips elsewhere.
acceptance: $(READY)
	$(BIN)/python -m pytest -m acceptance -rs tests/acceptance $(ARGS)

# Kills the daemon at every effect and lets everything else go wrong: ARGS="--runs 2100 --seed 1 --minutes 60".
campaign: $(READY)
	PYTHONPATH=tests $(BIN)/python -m campaign $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every package at the pinned version and with the pinned hash, then the project itself on top.
$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

# Pins the newest versions that pyproject.toml allows. Run with the oldest supported Python.
constraints: $(READY)
	$(BIN)/pip-compile --quiet --upgrade --extra embedded --extra apprise --extra demo --extra dev --generate-hashes --allow-unsafe --strip-extras \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
