# Development recipes; `just` lists them. scripts/install just installs just itself.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := env("CARGO_TARGET_DIR", env("STREAMHOUSE_CACHE", env("XDG_CACHE_HOME", home_directory() / ".cache") / "streamhouse") / "target")
export CARGO_TARGET_DIR := target

[private]
default:
    @just --list --unsorted

# Build and start a broker with embedded defaults; arguments go to `streamhouse start`.
run *ARGS:
    scripts/run {{ ARGS }}

# Everything that must hold before a change lands (what CI runs).
test *ARGS:
    scripts/test {{ ARGS }}

# Format, lints, structure and documentation, without running tests.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo run --quiet -p xtask -- tidy
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked

# Format all code.
fmt:
    cargo fmt --all

# Licences, sources, banned crates and (where the advisory database can be reached) advisories.
deny:
    scripts/install deny
    PATH="${STREAMHOUSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/streamhouse}/tools/bin:$PATH" cargo deny check bans licenses sources

# Simulate a whole broker: one seed, its event log on stderr.
sim SEED:
    cargo run --profile sim -p streamhouse-sim -- --seed {{ SEED }} --trace

# Simulate many seeds.
swarm SEEDS="1000" FIRST="1":
    cargo run --profile sim -p streamhouse-sim -- --seed {{ FIRST }} --swarm {{ SEEDS }}

# The compatibility tests alone: Java tools, kcat, clients, crashes. A nextest filter can follow, just compat 'test(kcat)'; just compat kafka is just compat-suite.
compat FILTER="all()" *ARGS:
    @"{{ just_executable() }}" {{ if FILTER == "kafka" { "compat-suite" } else { "compat-tests " + quote(FILTER) } }} {{ ARGS }}

[private]
compat-tests FILTER:
    scripts/install
    cargo build --workspace --bins --tests --locked --quiet
    cargo nextest run -p streamhouse-compat-tests --locked -E 'default() and ({{ FILTER }})'

# The compatibility tests with the slow ones: more crash cycles, larger matrices.
compat-full:
    scripts/install
    cargo build --workspace --bins --tests --locked --quiet
    cargo nextest run -p streamhouse-compat-tests --locked --ignore-default-filter

# The compatibility tests against Apache Kafka itself: proves the tests, not StreamHouse.
compat-kafka FILTER="all()":
    scripts/install
    STREAMHOUSE_COMPAT_TARGET=kafka cargo nextest run -p streamhouse-compat-tests --locked -E 'default() and ({{ FILTER }})'

# Apache Kafka's own integration tests, all or some: just compat-suite [--write] [FILTER...]; see compat-tests/kafka-suite/README.md.
compat-suite *ARGS:
    scripts/install kafka-suite
    cargo build -p streamhouse -p streamhouse-compat-tests --bins --locked --quiet
    "$CARGO_TARGET_DIR/debug/kafka-suite" {{ ARGS }}

# Kill -9 cycles against one broker under load: just crash 200 [seed].
crash CYCLES="200" SEED="":
    cargo build --workspace --bins --tests --locked --quiet
    STREAMHOUSE_CRASH_CYCLES={{ CYCLES }} STREAMHOUSE_SEED={{ SEED }} cargo nextest run -p streamhouse-compat-tests --locked --no-capture -E 'test(kill_nine)'

# Apache Kafka and StreamHouse in one run on this machine; see docs/benchmarks.md.
bench *ARGS:
    bench/run.sh {{ ARGS }}
