# One command each: `make demo` sets up and runs the main job, `make test` sets up and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCENARIO ?= scenarios/100-subs.yaml

RUST_SOURCES := $(shell find rust benches -name '*.rs' -not -path '*/target/*') \
	$(shell find rust benches -name 'Cargo.toml' -not -path '*/target/*') rust/Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-busy test test-rust test-python test-browser test-network test-interop test-rooms fuzz \
	conformance check check-rust check-python bench fmt clean lock proto

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.engine ## make .venv with the engine built in release; then .venv/bin/lkpy runs

$(VENV)/.python: requirements.lock
	@tools/prerequisites.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "lkpy: installing Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

$(VENV)/.engine: $(VENV)/.python pyproject.toml $(RUST_SOURCES)
	@tools/prerequisites.sh $(BIN)/python
	@echo "lkpy: building the media engine (the first time takes a few minutes)"
	@PATH=$(abspath $(BIN)):$$PATH MATURIN_PEP517_ARGS=--locked $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## start a server, send a simulated audience of 100 through it, print the verdict
	@$(BIN)/lkpy sim run $(SCENARIO)

demo-busy: setup ## the demo twenty times in a row while every core is busy (half an hour)
	@$(BIN)/python tools/under_load.py --times 20 --accept 0,4 -- $(BIN)/lkpy sim run $(SCENARIO)

test: test-rust test-python ## set up, then every test that needs nothing but Python and Rust

test-rust: setup
	cd rust && cargo test --locked --workspace --exclude lkpy-engine-python

# Four at a time: many tests wait for timers of a server, not for the processor.
test-python: setup
	$(BIN)/python -m pytest -n 4

test-browser: setup ## livekit-client in headless Chromium (needs chromium, node and npm)
	cd tests/browser && npm install --no-audit --no-fund
	$(BIN)/python -m pytest -m browser tests/browser

# Without privileges: a namespace of users lets one of networks be made.
test-network: setup ## livekit-client in Chromium behind a link that gets narrow (Linux, iproute2)
	cd tests/browser && npm install --no-audit --no-fund
	LKPY_NETWORK_NAMESPACE=1 unshare --map-root-user --net sh -c \
		'ip link set lo up && exec $(BIN)/python -m pytest -m network tests/browser'

test-interop: setup ## the official SDKs for Python, Node and Go; skips what the machine lacks
	@command -v npm >/dev/null && cd tests/interop/node && npm ci --no-audit --no-fund || true
	$(BIN)/python -m pytest -m 'not browser' tests/interop

test-rooms: setup ## 10,000 random sequences of whatever may happen to a room (a quarter of an hour)
	LKPY_SEQUENCES=10000 $(BIN)/python -m pytest tests/property/test_room_sequences.py

FUZZ_SECONDS ?= 10
fuzz: ## fuzz what holds state (SCTP, ICE, SRTP, congestion feedback) for FUZZ_SECONDS each
	FUZZ_SECONDS=$(FUZZ_SECONDS) rust/fuzz/run.sh

conformance: setup ## LiveKit's behaviour from outside, row by row (LIVEKIT_URL: another server)
	$(BIN)/python -m pytest tests/conformance --rows -n 4

check: check-rust check-python ## formatting, lint, types and the direction of imports

check-rust: setup
	cd rust && cargo fmt --all --check
	cd rust && cargo clippy --locked --workspace --all-targets -- -D warnings
	cd rust/fuzz && cargo metadata --locked --format-version 1 >/dev/null # its Cargo.lock is of its own

check-python: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## cost per forwarded packet beside its floor; rows also go to build/bench.json
	@$(BIN)/python benches/run.py

fmt: $(VENV)/.python ## format Rust and Python
	cd rust && cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.python ## generate Python from proto/
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --mypy_out=. \
		$(shell find proto -name '*.proto' | sed 's,^proto/,,')

lock: ## pin the newest Python packages that pyproject.toml allows
	@$(PYTHON) -m venv build/lock-venv && build/lock-venv/bin/pip install --quiet pip-tools
	@build/lock-venv/bin/python tools/lock.py

clean: ## remove what the other targets make
	rm -rf $(VENV) build rust/target lkpy/_engine*.so out .mypy_cache .ruff_cache .pytest_cache .hypothesis
