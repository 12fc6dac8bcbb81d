# Names for commands.

# The whole story, with real processes.
demo:
    cargo run --release -- demo

# Everything that is tested.
test:
    cargo test

# What must hold at each commit.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo deny check bans licenses sources

# The documentation of all crates.
doc:
    cargo doc --no-deps

# The gate.
ci:
    bash .ci/run

# Provisions per second against a fresh site, with 1 and 32 clients.
load:
    cargo bench -p mintmark-tests --bench provisions

# A million given keys: loaded, granted, imported.
pools:
    cargo bench -p mintmark-tests --bench pools
