# Short names for what is done often. Nothing needs this file: each line works by hand.

# list what there is
default:
    @just --list

# build the release binary
build:
    cargo build --release --locked

# run the chat example: open http://127.0.0.1:9000/ in two windows
run:
    cargo run --release -- --addr 127.0.0.1:9000 --staticdir examples/chat cat

# run the tests, or those whose name contains FILTER
test *FILTER:
    cargo test --locked {{FILTER}}

# everything that guards the project, exactly as it is run on a submission
check:
    bash .ci/run

# format the code
fmt:
    cargo fmt
