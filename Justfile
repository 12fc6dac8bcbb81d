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

# Provisions per second against a fresh site, with 1, 8 and 32 clients.
load:
    cargo bench -p mintmark-tests --bench provisions

# A million given keys: loaded, granted, imported.
pools:
    cargo bench -p mintmark-tests --bench pools

# A million rows reconciled: by the library alone, and with real signatures by `audit verify`.
reconcile:
    cargo bench -p mintmark-exchange --bench reconcile
    cargo bench -p mintmark-tests --bench audit

# So many lives of sites on a disk that fails, beside a model of what was promised.
simulate SEEDS="20000":
    MINTMARK_SEEDS={{SEEDS}} cargo test -p mintmark-sdk-testing --test simulation -- --nocapture

# So many days of two sites whose clients call at once, each explained by a model of the rules.
crowd DAYS="2000" SEED="1":
    MINTMARK_DAYS={{DAYS}} MINTMARK_SEED={{SEED}} cargo test -p mintmark-sdk-testing --test simulation i1_calls -- --nocapture

# kill -9 at every system call of a start, a provisioning, an import, an export, a receipt and so on.
kill-points:
    MINTMARK_KILL_POINTS=all cargo test -p mintmark-sdk-testing --test kill -- --nocapture

# One fuzz target, for so many seconds; needs cargo-fuzz and the nightly toolchain.
fuzz TARGET SECONDS="3600":
    mkdir -p tests/fuzz/corpus/{{TARGET}}
    cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none {{TARGET}} tests/fuzz/corpus/{{TARGET}} tests/fuzz/seeds/{{TARGET}} -- -max_total_time={{SECONDS}} -rss_limit_mb=1024 -max_len=65536

# The seeds of the fuzz targets, made anew by the code that is there.
fuzz-seeds:
    cd tests/fuzz && cargo run --release --example seeds
