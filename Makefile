# Every command that a person or CI runs. `make` prints what there is.
# Addresses are environment variables with defaults (infra/lib.sh): make up KAFKA_PORT=19092.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help install up down status demo programs build test options chaos upgrade load sim promtool compose-check lint check clean mutants flaky-check venues fuzz schemathesis page clients \
  bench bench-up bench-check bench-floor bench-growth restore restart takeover soak reads

TOOLS := $(CURDIR)/.run/tools
PEER := bench/kafka-streams/target/peer.jar

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: ## Everything: install, build, start, and a live table of prices as read from PostgreSQL (Ctrl-C stops it)
	@infra/demo.sh

install: ## Debian packages that are missing, and the stack's Java parts by digest
	@infra/install.sh

up: install ## Start Kafka, registry, Connect and PostgreSQL, and wait until they are healthy
	@infra/stack.sh start

down: ## Stop everything that this project started
	@infra/stack.sh stop

status: ## What runs, consumer lag, connector state
	@infra/status.sh

# Both select the features of the whole workspace (see tests/Cargo.toml), so no crate is compiled twice.
programs: ## The producer and the processor
	cargo build --release --workspace --bin producer --bin processor --locked

build: ## The programs, and the tests with them
	cargo build --release --workspace --bins --tests --examples --locked

test: up build ## Every test: Rust, end to end on the real stack, the page in a browser, alert rules, compose file
	@infra/install.sh chromium:chromium
	@tests/all.sh
	@$(MAKE) --no-print-directory promtool compose-check bench-check

options: up build ## Options of a simulated Deribit to every row of PostgreSQL, through an outage of it (OUTAGE_SECONDS=120; OPTIONS=1500)
	@OPTIONS=$(or $(OPTIONS),1500) OUTAGE_SECONDS=$(or $(OUTAGE_SECONDS),120) infra/with-addresses.sh cargo test --release --locked --workspace --test options -- --nocapture

chaos: install build ## Faults under load on three brokers of its own, under both group protocols; a table (CHAOS=PART: some of them)
	@infra/chaos.sh

upgrade: install build ## Members of the version PREVIOUS (a git revision) are replaced one at a time under load, and back
	@infra/upgrade.sh $(PREVIOUS)

load: up build ## What an event costs: events/s, CPU per event, commit latency, memory (LOAD="--events N --keys N")
	@infra/with-addresses.sh python3 bench/load.py $(LOAD)

# What measures needs Kafka and the registry only; the peer needs a compiler of Java beside Maven.
bench-up:
	@infra/install.sh openjdk-17-jdk-headless:javac
	@infra/stack.sh start kafka registry
	@$(MAKE) --no-print-directory build $(PEER)

$(PEER): bench/kafka-streams/pom.xml $(shell find bench/kafka-streams/src -type f)
	bench/kafka-streams/run.sh build

bench: bench-up ## The processor beside Kafka Streams, outputs verified: table, JSON, plots (QUICK=1; PAIRS=3; BENCH="--events N")
	@infra/with-addresses.sh python3 bench/run.py $(if $(QUICK),--quick) $(if $(PAIRS),--pairs $(PAIRS)) $(BENCH)

bench-floor: bench-up ## What librdkafka alone costs on the same topic (BENCH="--events N")
	@infra/with-addresses.sh python3 bench/floor.py $(BENCH)

bench-growth: bench-up ## Cost against keys, partitions, members, commit interval, skew, disorder (BENCH="--only keys")
	@infra/with-addresses.sh python3 bench/growth.py $(BENCH)

restore: bench-up ## Deleted state of 1,000,000 and 5,000,000 entries, and kill -9, both sides (BENCH="--entries N")
	@infra/with-addresses.sh python3 bench/restore.py $(BENCH)

restart: bench-up ## Away after SIGTERM and kill -9, both protocols, with and without an instance id (BENCH="--keys N")
	@infra/with-addresses.sh python3 bench/restart.py $(BENCH)

takeover: bench-up ## kill -9 of one of two members over 1,000,000 pairs, with and without a standby (BENCH="--keys N")
	@infra/with-addresses.sh python3 bench/takeover.py $(BENCH)

soak: bench-up ## Half an hour of steady load: does anything grow (SOAK_MINUTES=30; BENCH="--rate N")
	@infra/with-addresses.sh python3 bench/soak.py $(BENCH)

reads: bench-up ## Reads beside writes, 5,000 streaming clients, and kill -9 of everything while it is read (BENCH="--only trouble")
	@infra/with-addresses.sh python3 bench/reads.py $(BENCH)

bench-check: build ## Instructions of an event against bench/baseline.json
	@python3 bench/check.py

schemathesis: bench-up ## The interface of a view against its OpenAPI document (EXAMPLES=100 of each operation; SEED=1)
	@infra/with-addresses.sh cargo test --release --workspace --locked --test contract -- --nocapture

page: up build ## The page in a browser, and pictures of it in target/page: live, feed dead, rebalance, empty
	@infra/install.sh chromium:chromium
	@infra/with-addresses.sh cargo test --release --workspace --locked --test page

clients: up build ## What others read with: Python, kcat, psql, pandas, polars, ccxt, go-binance
	@infra/with-addresses.sh cargo test --release --workspace --locked --test clients --test exchanges

sim: ## The simulation over many seeds (SEEDS=10000)
	@SIM_SEEDS=$(or $(SEEDS),10000) cargo test --release --locked --workspace --test simulation --test swap_simulation

mutants: ## Bugs planted one at a time: the tests must catch each (BUGS="name …": some of them; RESUME=1: those not yet caught)
	@tests/mutations.sh $(BUGS)

flaky-check: up build ## Tests that depend on time, RUNS=20 times each; every failure is listed (TARGETS="broker errors")
	@infra/install.sh chromium:chromium
	@tests/flaky.sh $(TARGETS)

# A table for each point, and the first that fails ends it. Kafka and the registry are all that it needs;
# the last test stops Kafka for a while.
VENUES := infra/with-addresses.sh cargo test --release --workspace --locked
venues: install build ## Every venue: recorded traffic, every fault before a real Kafka, load, two minutes without Kafka (VENUE_SECONDS=60; OUTAGE_SECONDS=120)
	@infra/stack.sh start kafka registry
	@$(VENUES) --test recorded --test backfill --test capture --test simulator -- --nocapture
	@VENUE_FAULTS=all $(VENUES) --test venues -- --nocapture
	@infra/with-addresses.sh python3 bench/venues.py --seconds $(or $(VENUE_SECONDS),60)
	@OUTAGE_SECONDS=$(or $(OUTAGE_SECONDS),120) $(VENUES) --test spool -- --nocapture

fuzz: $(TOOLS)/bin/cargo-fuzz ## Arbitrary input for whatever reads what others wrote (SECONDS=60 for each target)
	@PATH="$(TOOLS)/bin:$$PATH" fuzz/run.sh $(or $(SECONDS),60)

promtool: ## Alert rules against recorded situations
	@infra/prometheus/test.sh

compose-check: ## docker-compose.yml loads, and says the same as the native stack
	@infra/compose-check.sh

lint: ## Formatting, lints, documentation
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked

check: lint $(TOOLS)/bin/cargo-deny ## The same, the project's norms, licences, sources and duplicate crates
	cargo test --release --workspace --locked --test tidy
	PATH="$(TOOLS)/bin:$$PATH" cargo deny --locked check bans licenses sources

$(TOOLS)/bin/cargo-deny:
	@source infra/versions.env && cargo install --locked --root $(TOOLS) --version "$$CARGO_DENY_VERSION" cargo-deny

$(TOOLS)/bin/cargo-fuzz:
	@source infra/versions.env && cargo install --locked --root $(TOOLS) --version "$$CARGO_FUZZ_VERSION" cargo-fuzz

clean: down ## Remove state, logs and data of the stack; what was downloaded stays
	@infra/clean.sh
