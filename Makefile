# Needs cargo and a C compiler; `fuzz` also needs cargo-fuzz and a C++ compiler.

.DEFAULT_GOAL := help
.PHONY: help run test loom bench bench-gate bench-picks fuzz sim chaos

# The directory into which cargo builds the fuzz targets.
FUZZ_DIR = $${CARGO_TARGET_DIR:-fuzz/target}
TARGETS = $(sort $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs)))
T ?= $(TARGETS)
SECONDS ?= 60
# `none` is several times as fast, and enough for `session`, because the crate has no unsafe code there.
SANITIZER ?= address
ROUNDS ?= 3
SECONDS_EACH ?= 1.5
# The scenario with idle connections needs as many descriptors as are allowed.
BENCH = ulimit -n "$$(ulimit -Hn)"; cargo run --release --locked --quiet --manifest-path bench/Cargo.toml --
TIDEGATE = "$${CARGO_TARGET_DIR:-target}/release/tidegate"

help: ## This list
	@awk -F ' *## ' '/^[a-z-]+:.*##/ { sub(/:.*/, "", $$1); printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build for release and start the proxy with ./config.yaml
	cargo run --release --locked

test: ## Formatting, lints and all tests
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked
	cd bench && cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings && cargo test --locked

bench: ## Compare with nginx and HAProxy, where installed; ROUNDS=3 SECONDS_EACH=1.5 ONLY=upload JSON=file UPDATE_DOCS=1
	cargo build --release --locked
	@$(BENCH) run --tidegate $(TIDEGATE) --rounds $(ROUNDS) --seconds $(SECONDS_EACH) --only '$(ONLY)' --json '$(JSON)' \
		--note '$(NOTE)' --readme '$(if $(UPDATE_DOCS),docs/benchmarks.md)'

bench-gate: ## Compare the instructions of a request with the limit in bench/INSTRUCTIONS.md; needs valgrind
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: it is what counts the instructions' >&2; exit 2; }
	cargo build --release --locked
	@$(BENCH) gate --tidegate $(TIDEGATE) --bars bench/INSTRUCTIONS.md

bench-picks: ## Count the instructions of a request over 1, 10, 100 and 1,000 upstreams, for each way of balancing; needs valgrind
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: it is what counts the instructions' >&2; exit 2; }
	cargo build --release --locked
	@$(BENCH) picks --tidegate $(TIDEGATE)

fuzz: ## Fuzz every target, or T=session alone; SECONDS=60 for each; SANITIZER=none
	@for target in $(T); do [ -f "fuzz/fuzz_targets/$$target.rs" ] || { echo "make fuzz T=<target>, one of: $(TARGETS)" >&2; exit 2; }; done
	@command -v cargo-fuzz >/dev/null || { echo 'cargo-fuzz is missing: cargo install cargo-fuzz' >&2; exit 2; }
# A build without RUSTC_BOOTSTRAP leaves a file there that makes later builds fail.
	@rm -f "$(FUZZ_DIR)/.rustc_info.json"
	RUSTC_BOOTSTRAP=1 cargo fuzz build -s $(SANITIZER)
# New inputs go to the first directory; the seeds are only read. An input that takes 20 seconds is a finding too.
	@set -e; for target in $(T); do \
		echo "fuzzing $$target for $(SECONDS) s"; mkdir -p "$(FUZZ_DIR)/corpus/$$target"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run -s $(SANITIZER) $$target "$(FUZZ_DIR)/corpus/$$target" fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -timeout=20 -verbosity=0 -print_final_stats=1; \
	done

sim: ## Simulate workers, clients and upstreams; SEED=… repeats a run that failed
	$(if $(SEED),SIM_SEED=$(SEED) )cargo test --locked --test sim -- --nocapture

loom: ## Test what workers share without a lock, in every order in which threads may run
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/loom" cargo test --locked --test loom

chaos: ## Run against failing upstreams for two minutes, and print a table; SEED=… repeats a run
	cargo build --release --locked
	@TIDEGATE_BIN="$$(realpath $(TIDEGATE))" CHAOS_SEED="$(or $(SEED),$$(date +%s))" CHAOS_SECONDS=8 \
		cargo test --quiet --locked --test chaos what_can -- --nocapture
