# Everything that is done with this checkout. `make climb` and `make test` need only Python ≥ 3.11
# with venv, and make; each makes the environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The pip that installs; left out, the one that comes with Python. 22.3 is the oldest that is tried.
WITH_PIP ?=

.PHONY: help climb test test-full test-native test-page check bench bench-fleet bench-peers test-real test-k8s format schema examples docs lock release clean

help:
	@echo "make climb      measure the built-in simulator: the main job, end to end"
	@echo "make test       run the tests"
	@echo "make test-full  run also those that take minutes: broken servers, many seeds"
	@echo "make check      lint, formatting, types"
	@echo "make bench      measure benchcore itself, as ratios; some twenty-five minutes"
	@echo "make bench-fleet  how much each further worker adds, on a machine of 8 cores or more"
	@echo "make bench-peers  fetch vLLM's Rust client (360 MB), so that make bench measures it too"
	@echo "make test-native  run the native reader under sanitizers, ten minutes of random bytes"
	@echo "make test-page  look for what shuts people out of the pages, with axe-core; needs npm, chromium"
	@echo "make test-real  install real servers and measure them; half an hour and 4 GB"
	@echo "make test-k8s   build a Kubernetes API server once, and launch on it; needs Go, etcd and rsync"
	@echo "make format     put the code into its form"
	@echo "make schema     write the JSON Schemas of what users write into docs/schema"
	@echo "make examples   measure the simulator anew for results/examples/simulator"
	@echo "make docs       build the documentation into build/site"
	@echo "make lock       resolve the dependencies anew (needs uv)"
	@echo "make release    build and check what would be published"
	@echo "make clean      remove the environment and what was built"

NATIVE := benchcore/client/native
# The compiler that builds the native reader for other machines and for the oldest C library.
ZIG := 0.17.1

# Two stamps, so that `make climb` does not wait for linters.
$(VENV)/.run: pyproject.toml requirements.lock $(NATIVE)/reader.c $(NATIVE)/build.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "benchcore needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(if $(WITH_PIP),$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==$(WITH_PIP))
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

climb: $(VENV)/.run
	$(BIN)/benchcore climb --sim --concurrency 1,8,64

# Workers and hundreds of processes would compile the same modules again and again.
test test-full: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.dev
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

test-full: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m '' --hypothesis-profile=full

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if git grep -nE '\b(TODO|FIXME|XXX)\b' -- '*.py'; then echo "do it, or write it into an issue"; exit 1; fi

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench.run

bench-fleet: $(VENV)/.dev
	$(BIN)/python -m tests.bench.workers $(if $(CORES),--cores $(CORES))

bench-peers: $(VENV)/.dev
	$(BIN)/python -m tests.bench.peers

test-native: $(VENV)/.dev
	$(BIN)/python -m tests.native.run

AXE := 4.14.1

test-page: $(VENV)/.dev
	mkdir -p build/axe
	cd build/axe && npm pack --silent axe-core@$(AXE) && tar -xzf axe-core-$(AXE).tgz
	$(BIN)/python -m tests.show.axe build/axe/package/axe.min.js

test-real: $(VENV)/.dev
	$(BIN)/python tests/real/run.py
	$(BIN)/python tests/real/bench_datasets.py
	$(BIN)/python tests/real/prefix_cache.py
	$(BIN)/python tests/real/server_metrics.py

test-k8s: $(VENV)/.dev
	$(BIN)/python tests/k8s/run.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

schema: $(VENV)/.run
	$(BIN)/python tests/schema.py

examples: $(VENV)/.dev
	rm -rf results/examples/simulator results/examples/.new
	$(BIN)/benchcore climb --sim --concurrency 1,8,64 --requests 120 --seed 1 --name simulator --output results/examples/.new --no-progress
	mv results/examples/.new/*-simulator results/examples/simulator
	rmdir results/examples/.new

docs: requirements-docs.lock
	test -x $(VENV)-docs/bin/mkdocs || $(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --quiet

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-strip-extras --upgrade -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-strip-extras --upgrade -c requirements.lock -o requirements-dev.lock
	uv pip compile --group docs --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-strip-extras --upgrade -o requirements-docs.lock

release: $(VENV)/.dev
	rm -rf dist
	BENCHCORE_NATIVE=no $(BIN)/python -m build --quiet --outdir dist
	test -x $(VENV)-zig/bin/python || $(PYTHON) -m venv $(VENV)-zig
	$(VENV)-zig/bin/pip install --quiet --disable-pip-version-check ziglang==$(ZIG)
	for machine in x86_64 aarch64; do \
	  BENCHCORE_NATIVE=require BENCHCORE_PLATFORM=manylinux2014_$$machine \
	  CC="$(CURDIR)/$(VENV)-zig/bin/python -m ziglang cc -target $$machine-linux-gnu.2.17" \
	  $(BIN)/python -m build --quiet --wheel --outdir dist || exit 1; \
	done
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/release.py dist

clean:
	rm -rf $(VENV) build dist .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
