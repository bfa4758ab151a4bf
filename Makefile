# Everything a fresh machine needs, and everything a developer does. `make` alone lists the targets.

CARGO_LEPTOS := 0.3.10
WASM_BINDGEN := 0.2.129
# Tools need not be fast, only there soon.
TOOL_PROFILE := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1
# cargo-leptos takes wasm-opt from PATH.
export PATH := $(CURDIR)/node_modules/.bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup build run watch check test

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup: ## install what is missing: wasm target, cargo-leptos, wasm-bindgen, wasm-opt
	@command -v cargo >/dev/null || { echo "Install Rust with rustup (https://rustup.rs), then run make again."; exit 1; }
	@command -v npm >/dev/null || { echo "Install Node.js with npm (https://nodejs.org), then run make again."; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" || rustup target add wasm32-unknown-unknown
	@case "$$(cargo leptos --version 2>/dev/null)" in *$(CARGO_LEPTOS)*) ;; *) \
		$(TOOL_PROFILE) cargo install cargo-leptos --version $(CARGO_LEPTOS) --locked --features no_downloads;; esac
	@case "$$(wasm-bindgen --version 2>/dev/null)" in *$(WASM_BINDGEN)*) ;; *) \
		$(TOOL_PROFILE) cargo install wasm-bindgen-cli --version $(WASM_BINDGEN) --locked;; esac
	@cmp -s package-lock.json node_modules/.installed || { npm ci && cp package-lock.json node_modules/.installed; }

build: setup ## build the release: target/release/wirewise and target/site
	cargo leptos build --release --split --precompress

run: build ## build, serve, print the address; more flags with ARGS="..."
	target/release/wirewise $(ARGS)

watch: setup ## build and serve with reload while you edit
	cargo leptos watch --split

check: setup ## formatting, lints of both halves, feature gates, documentation
	cargo fmt --check
	sh tools/feature-gates.sh
	cargo clippy --features ssr --all-targets -- -D warnings
	cargo clippy --features hydrate --lib --target wasm32-unknown-unknown -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --features ssr

test: build ## the tests of both halves
	cargo test --features ssr
