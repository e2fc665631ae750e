# Show these recipes.
default:
    @just --list

# Format, lints, documentation and every test, with all that they need.
test:
    scripts/test

# The main job on this machine; --kafka for the same on a real Kafka.
demo *ARGS:
    scripts/demo {{ARGS}}

# What a change is checked for first.
check:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# One crate's tests, such as `just crate umbra-record`.
crate NAME *ARGS:
    cargo test -p {{NAME}} {{ARGS}}

# The end-to-end tests on a Kafka of their own.
e2e *ARGS:
    scripts/kafka run -- cargo test -p umbra --test e2e {{ARGS}}

# Side by side with peers, all cases or those named (bench/README.md).
bench *CASES:
    scripts/bench {{CASES}}

# The release binary.
build:
    cargo build --release --locked

# Format everything.
fmt:
    cargo fmt --all

# The code of proto/umbra/v1 again.
proto:
    UMBRA_REGENERATE=1 cargo test -p umbra-record

# A Kafka to try things on; stop it with `scripts/kafka stop`.
kafka:
    scripts/kafka start
