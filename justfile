# Short names for what is done often. Nothing needs this file: each line works by hand.

# list what there is
default:
    @just --list

# build the release binary
build:
    cargo build --release --locked

# run the chat example: open http://127.0.0.1:9000/ in two windows
run:
    cargo run --release --locked -- --addr 127.0.0.1:9000 --staticdir examples/chat cat

# run the tests, or those whose name contains FILTER
test *FILTER:
    cargo test --locked {{FILTER}}

# examples and console in a real browser, or the files whose names contain FILTER; pictures in target/pictures
browser *FILTER:
    tests/browser/run {{FILTER}}

# the console beside 1,000 rooms and 10,000 messages a second: how long the page's tasks are, and what the server spends
console-load:
    cargo build --release --locked
    CONSOLE_LOAD=full SCALESOCKET_BIN=$PWD/target/release/scalesocket tests/browser/run console-load

# everything that guards the project, exactly as it is run on a submission
check:
    bash .ci/run

# measure the release build beside its peers and write docs/benchmarks.md; `just bench --only echo --runs 3`, `just bench --check`
bench *ARGS:
    cargo build --release --locked -p scalesocket -p scalesocket-bench
    bench/peers/install.sh
    target/release/scalesocket-bench run --write docs/benchmarks.md {{ARGS}}

# the tests of the cage under a kernel whose cgroups have controllers; root, and Debian's user-mode-linux
cgroups:
    tests/cgroups.sh

# the units of deploy/systemd under a systemd that boots; root, and Debian's user-mode-linux
units:
    tests/systemd.sh

# measure codec, backlog and framings alone, beside the last time; `just micro -- json`
micro *ARGS:
    cargo bench --locked {{ARGS}}

# the long forms of what must hold, and half an hour of everything with a fault every few seconds; `just soak --only mixed --minutes 5`
soak *ARGS:
    cargo build --release --locked -p scalesocket -p scalesocket-bench
    target/release/scalesocket-bench soak {{ARGS}}

# RFC 6455 and RFC 7692 on the release build, and then with a second implementation on either side
conformance *FILTER:
    cargo build --release --locked --example puppet
    cargo test --release --locked --test conformance {{FILTER}}
    tests/conformance/differential.sh --release

# faults that take minutes: a hundred thousand rooms, one after the other
faults-long:
    cargo test --release --locked --test faults -- --ignored --nocapture

# what a thousand half-open handshakes hold, for how long, and how soon others come in
half-open:
    cargo build --release --locked --example puppet
    cargo test --release --locked --test conformance half_open_handshakes_measured -- --ignored --nocapture

# fuzz each target for a minute, or those named: `just fuzz-smoke 600 codec token`; needs a C++ compiler
fuzz-smoke SECONDS='60' *TARGETS:
    fuzz/run {{SECONDS}} {{TARGETS}}

# what a fleet costs: the hop, the API server's part; needs Go or KUBEBUILDER_ASSETS; `just hop cost::api`
hop FILTER='cost':
    cargo build --release --locked --features kube
    SCALESOCKET_BIN=$PWD/target/release/scalesocket cargo test --locked --features kube --test fleet {{FILTER}} -- --ignored --nocapture --test-threads=1

# build the static binary twice in different places, and compare; `just reproducible --features kube`
reproducible *ARGS:
    .ci/reproducible {{ARGS}}

# pack static binary, units, man page and completions into dist/; `just dist --features kube`
dist *ARGS:
    .ci/dist {{ARGS}}

# format the code
fmt:
    cargo fmt
