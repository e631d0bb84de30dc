# `make demo` and `make test` set up everything they need in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test acceptance contract campaign mutants bench structure diagrams changelog lint format constraints man pictures dist install-paths container clean

demo: $(READY)
	$(BIN)/jgi-stager demo --dir demo-run --replace $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

# The service on a booted Debian 12: needs root, systemd-container and debootstrap; says so and skips elsewhere.
acceptance: $(READY)
	$(BIN)/python -m pytest -m acceptance -rs tests/acceptance $(ARGS)

# Bends each assumption about the outside, alone and in pairs, and shows what comes of it; `make test` has a sample.
contract: $(READY)
	JGI_STAGER_CONTRACT=whole $(BIN)/python -m pytest -s tests/integration/test_contract_bent.py $(ARGS)

# Kills the daemon at every effect and lets everything else go wrong: ARGS="--runs 2100 --seed 1 --minutes 60".
campaign: $(READY)
	PYTHONPATH=tests $(BIN)/python -m campaign $(ARGS)

# Breaks the daemon in a dozen ways that matter; exit 1 if the judge of the campaign does not notice one.
mutants: $(READY)
	PYTHONPATH=tests $(BIN)/python -m campaign.mutants $(ARGS)

# Every figure with its goal: ARGS="--only ticks --sizes 10000,100000 --json bench.json"; docs/benchmarks.md.
bench: $(READY)
	PYTHONPATH=tests:. $(BIN)/python -m benchmarks $(ARGS)

# The structure in figures: the core's reading path, circles, what imports what, typed documents, lifecycles.
structure: $(READY)
	$(BIN)/python tests/structure.py $(ARGS)

# The pictures of the README, of a demo with a fixed seed; needs a Chromium.
pictures: $(READY)
	$(BIN)/python tests/pictures.py

# man/jgi-stager.1, from the commands as `--help` shows them.
man: $(READY)
	$(BIN)/python tests/man_page.py --write

# docs/lifecycles.md has the lifecycles as src/jgi_stager/lifecycle.py declares them, docs/contract.md the assumptions of
# src/jgi_stager/contract.py.
diagrams: $(READY)
	$(BIN)/python tests/diagrams.py --write
	$(BIN)/python tests/contract_page.py --write

# The part of the next release, from the fragments in changelog.d; with VERSION=x it goes into CHANGELOG.md.
changelog: $(READY)
	$(BIN)/python tests/changelog.py $(VERSION)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Exactly the pinned packages, by hash, and then the project itself. pip resolves nothing: a list that lacks a package
# fails in `pip check` here, instead of taking whatever is newest on the day of the installation.
PIP := $(BIN)/python -m pip --disable-pip-version-check
$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --no-deps --require-hashes -r constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	$(PIP) check
	touch $(READY)

# Pins the newest versions that pyproject.toml allows, for every supported Python at once: constraints.txt for the work
# on the project, constraints-service.txt (the same versions) for a machine that only runs the service.
PINS := $(VENV)-pins
COMPILE := $(PINS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
constraints:
	$(PYTHON) -m venv --clear $(PINS)
	$(PINS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --upgrade --all-extras --output-file constraints.txt pyproject.toml
	$(COMPILE) --upgrade --extra embedded --extra apprise --constraint constraints.txt \
		--output-file constraints-service.txt pyproject.toml
	rm -rf $(PINS)

# The wheel and the source of a release, in dist/. All times in them are that of the last commit, so whoever builds a
# commit gets the same bytes.
dist: $(READY)
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m hatchling build --clean

# Each way of docs/install.md, in a fresh environment with an empty HOME, and how long it takes; in a fresh container with
# ARGS="--image IMAGE", such as the base that `make container` made.
install-paths: dist
	$(BIN)/python tests/install_paths.py $(ARGS)

# The image of Containerfile: its size, a demo inside it, and the kill of the replica that works; the last again with
# compose.yaml. Needs root, podman, runc and debootstrap; says so and skips elsewhere.
container: dist
	PYTHONPATH=tests $(BIN)/python tests/container.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-pins .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
