# Sets up a fresh machine, and runs every task of a developer. `make` alone lists the targets.

# The versions of the tools. The crate wasm-bindgen in Cargo.toml has the same version as its command line tool, and as the
# library in tools/split-wasm.
# With its lock file 0.3.11 needs Rust 1.96.
export CARGO_LEPTOS := 0.3.10
export WASM_BINDGEN := 0.2.129
export CARGO_DENY := 0.20.2
export CHECK_JSONSCHEMA := 0.39.0
export HADOLINT := 2.15.1
# The folder of the project's own tool (tools/split-wasm): all clones share it.
CARGO_FOLDER := $(or $(CARGO_HOME),$(HOME)/.cargo)
export TOOLS := $(CARGO_FOLDER)/wirewise
# The folders into which npm and `cargo install` put programs.
export PATH := $(CURDIR)/node_modules/.bin:$(TOOLS)/bin:$(CARGO_FOLDER)/bin:$(PATH)

# The browser's half. The splitter reads the relocations. The paths of this machine do not belong into what browsers download.
SHORT_PATHS = --remap-path-prefix=$(CARGO_FOLDER)/registry/src/= --remap-path-prefix=$(shell rustc --print sysroot)/lib/rustlib/src/rust=std
FRONT = env -u MAKEFLAGS RUSTFLAGS="-Clink-args=--emit-relocs $(SHORT_PATHS)" cargo build --profile wasm-release --lib --no-default-features --features hydrate --target wasm32-unknown-unknown --target-dir target/front
WASM := target/front/wasm32-unknown-unknown/wasm-release/wirewise.wasm

PEERS := benches/peers

.PHONY: help setup tools browser leptos proxies nats build site server run cluster watch example check test test-proxies weight screenshots check-budgets check-perf check-upload check-packages audit torture test-cluster simulate fuzz simulate-scale bench bench-quick bench-chat bench-collab bench-cluster bench-writers

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST))

setup: tools browser leptos ## install what is missing; costs nothing when nothing is missing

tools: ## ... what builds: the wasm target, split-wasm, npm packages
	@sh tools/setup.sh

browser: tools ## ... the browser of the browser tests: a Chromium
	@sh tools/browser.sh

leptos: tools ## ... what watches: cargo-leptos and wasm-bindgen, prebuilt where cargo binstall is on PATH
	@sh tools/cargo-tool.sh "cargo leptos" cargo-leptos "$(CARGO_LEPTOS)" "10 minutes" --features no_downloads
	@sh tools/cargo-tool.sh wasm-bindgen wasm-bindgen-cli "$(WASM_BINDGEN)" "2 minutes"

proxies: ## ... what the tests of the proxies drive: nginx, Caddy, openssl
	@sh tools/proxies.sh

nats: ## ... the broker of several servers, which the tests start too: nats-server
	@sh tools/nats.sh

# Both halves at once: for minutes each of them keeps only one core busy, with one crate.
build: tools ## build the release: target/release/wirewise and target/site
	@$(MAKE) --no-print-directory -j2 site server

# MAKEFLAGS would make cargo ask this make for its share of the cores.
site: tools
	sh tools/step.sh "The browser's half" "6 minutes" $(FRONT)
	sh tools/step.sh "The site" "5 minutes" node tools/site.mjs $(WASM) target/site

server: tools
	sh tools/step.sh "The server" "14 minutes" env -u MAKEFLAGS cargo build --release --bin wirewise --features ssr

run: build ## build, serve, print the address; more flags with ARGS="..."
	target/release/wirewise --allow-faults $(ARGS)

CLUSTER_PORT ?= 3000
cluster: build nats proxies ## build, serve with three nodes on one NATS behind Caddy, print the addresses: CLUSTER_PORT=3000; more flags of the nodes with ARGS="..."
	CLUSTER_PORT=$(CLUSTER_PORT) node tools/cluster.mjs $(ARGS)

watch: leptos ## build and serve, again and again while you edit
	WIREWISE_ALLOW_FAULTS=true cargo leptos watch --split

# The example is an application of its own: its folder has the settings of its build. The site is what cargo-leptos makes of it.
# `make check` builds it instead of running clippy, which would compile every crate that it uses a second time. With the debug
# information of the repository's own builds its server shares most crates with them.
IN_EXAMPLE := cd examples/thermometer &&
EXAMPLE_SITE := target/thermometer-site
example: tools ## build the example of the kit: target/debug/thermometer and target/thermometer-site
	$(IN_EXAMPLE) sh ../../tools/step.sh "The example's page" "2 minutes" cargo rustc --locked --lib --features hydrate --target wasm32-unknown-unknown -- -D warnings -Clink-args=--emit-relocs
	$(IN_EXAMPLE) sh ../../tools/step.sh "The example's server" "2 minutes" cargo rustc --locked --config 'profile.dev.debug="line-tables-only"' --bin thermometer --features ssr -- -D warnings
	rm -rf $(EXAMPLE_SITE)
	split-wasm target/wasm32-unknown-unknown/debug/thermometer.wasm $(EXAMPLE_SITE)/pkg thermometer
	mv $(EXAMPLE_SITE)/pkg/thermometer_bg.wasm $(EXAMPLE_SITE)/pkg/thermometer.wasm
	cp examples/thermometer/style.css $(EXAMPLE_SITE)/pkg/thermometer.css
	cp -r examples/thermometer/public/. $(EXAMPLE_SITE)

check: tools example ## formatting, feature gates, lints of both halves, the build of the example, documentation and its links, the kit's package, types of the browser tests
	cargo fmt --all --check
	$(IN_EXAMPLE) cargo fmt --check
	cargo fmt --manifest-path $(PEERS)/Cargo.toml --check
	sh tools/feature-gates.sh src realtime/src examples/thermometer/src
	node tools/check-links.mjs
	tsc --project end2end
	cargo clippy --workspace --features ssr --all-targets -- -D warnings
	cargo clippy --package wirewise-realtime --features ssr,testing --all-targets -- -D warnings
	cargo clippy --workspace --features hydrate --lib --target wasm32-unknown-unknown -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --features ssr
	RUSTDOCFLAGS="-D warnings" cargo doc --package wirewise-realtime --no-deps --features ssr,testing
	cargo package --quiet --package wirewise-realtime --allow-dirty --no-verify

# The release binary is named explicitly, because cargo test leaves a newer, unoptimised binary behind.
test: build browser example nats ## the Rust tests of the app, the kit and its test kit, then the browser tests against the built release
	PATH="$$PATH:/usr/sbin:$(CURDIR)/target/nats/usr/sbin" cargo test --workspace --features ssr
	cd end2end && WIREWISE_BIN="$(CURDIR)/target/release/wirewise" playwright test

test-proxies: build browser proxies ## the pages behind nginx and Caddy as deploy/ configures them, and what breaks without each line
	cd end2end && WIREWISE_BIN="$(CURDIR)/target/release/wirewise" playwright test --config proxies.config.ts

weight: tools ## what each page downloads, and of what that consists, into docs/weight.md
	$(FRONT)
	KEEP_NAMES=1 node tools/site.mjs $(WASM) target/named-site
	node tools/weight.mjs target/named-site docs/weight.md

screenshots: build browser ## take the pictures of the README and of link previews again; takes five minutes, until the chart is full
	cd end2end && WIREWISE_BIN="$(CURDIR)/target/release/wirewise" playwright test --config screenshots.config.ts

check-perf: build browser ## instructions of the server for a delivery and for a page, counted by callgrind: other load does not matter
	command -v callgrind_control >/dev/null || sh tools/debian-package.sh valgrind
	@command -v callgrind_control >/dev/null || { echo "Install valgrind (on Debian: apt-get install valgrind). Then run make again." >&2; exit 1; }
	cd end2end && WIREWISE_BIN=tools/callgrind.sh playwright test --config perf.config.ts

check-upload: build ## upload 1 GiB: digests as those of sha256sum and b3sum, memory within 100 MiB
	bash tools/check-upload.sh

check-packages: build nats proxies ## the unit, the Dockerfile, compose.yaml, the settings of NATS and Caddy, and the server in the root folder of the image; needs no Docker
	bash tools/check-packages.sh

audit: ## licences, sources, banned and duplicated crates, and known vulnerabilities where the database can be had
	sh tools/audit.sh

SECONDS ?= 60
SEED ?=
torture: ## prove the chat's guarantee for SECONDS=60: cuts, kill -9, stalled readers, and a checker; SEED=... repeats a run
	cargo bench --features ssr --bench torture -- --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# The run is the release, which is built already; only its test clients are built here.
TORTURE = WIREWISE_BIN="$(CURDIR)/target/release/wirewise" PATH="$$PATH:/usr/sbin:$(CURDIR)/target/nats/usr/sbin:$(CURDIR)/target/proxies/usr/bin" cargo bench --features ssr --bench torture --
test-cluster: build browser nats proxies ## the same at three nodes on NATS behind Caddy, also with three servers of NATS, with a document, prices, jobs and pointers, 2,000 clients, and the pages of the chat; SECONDS=60
	$(TORTURE) --brokers 1 --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
	$(TORTURE) --brokers 3 --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
	cd end2end && WIREWISE_BIN="$(CURDIR)/target/release/wirewise" playwright test --config cluster.config.ts

SCHEDULES ?= 100000
simulate: ## SCHEDULES=100000 seeded schedules of wire, server and clock against the kit's client; a failing seed is printed
	WIREWISE_SCHEDULES=$(SCHEDULES) cargo test --package wirewise-realtime --features ssr --lib simulator

CASES ?= 5000000
fuzz: ## hostile frames and updates of the shared text, CASES=5000000 of them
	WIREWISE_FUZZ_CASES=$(CASES) cargo test --release --features ssr --lib collab:: -- --nocapture

# The benchmark beside peers is a crate of its own with packages of its own. npm writes the file that says what is installed.
PEERS_INSTALLED := $(PEERS)/node/node_modules/.package-lock.json
MEASURE = target/peers-build/release/wirewise-peers run
ROUNDS ?= 5
BUILD_PEERS = cargo build --locked --release --manifest-path $(PEERS)/Cargo.toml --target-dir target/peers-build

$(PEERS_INSTALLED): $(PEERS)/node/package-lock.json
	cd $(PEERS)/node && sh ../../../tools/step.sh "The peers for Node.js" "1 minute" npm ci --no-audit --no-fund
	touch $@

bench: build $(PEERS_INSTALLED) ## beside axum, Node, ws, Socket.IO, uWebSockets.js, Express and raw TCP, into benches/RESULTS.md: ROUNDS=5 of five minutes on an idle machine
	sh tools/step.sh "The benchmark" "2 minutes" $(BUILD_PEERS)
	$(MEASURE) --rounds $(ROUNDS)

bench-quick: build $(PEERS_INSTALLED) ## ... one short round of it, which shows roughly where things stand; two minutes
	sh tools/step.sh "The benchmark" "2 minutes" $(BUILD_PEERS)
	$(MEASURE) --quick

bench-chat: ## acknowledged messages a second, with one fsync each and in groups, at the bus and through sockets
	cargo bench --features ssr --bench chat

bench-collab: tools ## pointers and typing: the server's CPU time, latency from key to peer, beside the npm websocket server
	cargo bench --features ssr --bench collab

bench-writers: ## what a keystroke costs where 20 or 2,000 people wrote before: fails where many cost over 1.5 times few
	cargo bench --features ssr --bench collab -- writers

# The nodes are the release, which is built already; only the clients are built here.
bench-cluster: build nats ## one server beside 1, 2 and 3 nodes on NATS: deliveries, CPU and latency, into benches/RESULTS.md; five minutes on an idle machine
	WIREWISE_BIN="$(CURDIR)/target/release/wirewise" PATH="$$PATH:/usr/sbin:$(CURDIR)/target/nats/usr/sbin" cargo bench --features ssr --bench cluster

simulate-scale: ## how many people 10, 100 and 1,000 nodes carry, computed and replayed with the measured costs, into docs/scale.md
	cargo bench --features ssr --bench scale

# Not part of `make test`, because these are measurements and need a machine without other load.
check-budgets: build browser ## what the pages may cost: no task over 50 ms at a thousand prices a second, nor in a long chat
	cd end2end && WIREWISE_BIN="$(CURDIR)/target/release/wirewise" playwright test --config budgets.config.ts
