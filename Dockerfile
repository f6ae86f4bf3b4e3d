# syntax=docker/dockerfile:1
# One static binary and nothing else: no shell, no package manager, no root.
#
# To serve a program of your own, bring the binary into the program's image:
#     COPY --from=scalesocket /usr/local/bin/scalesocket /usr/local/bin/
#
# The builder runs on the machine's own architecture and cross-compiles for the other one
# (`docker buildx build --platform linux/amd64,linux/arm64 .`); nothing is emulated.

FROM --platform=$BUILDPLATFORM rust:1-slim-bookworm AS build
ARG TARGETARCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src

# Each compiler is called by its full name, which is also the native one's.
# The versions are those of the Debian release in the tag above.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
        amd64) rust=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu package=gcc-x86-64-linux-gnu ;; \
        arm64) rust=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu package=gcc-aarch64-linux-gnu ;; \
        *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if ! command -v "$gnu-gcc"; then \
        apt-get update; \
        apt-get install -y --no-install-recommends "$package" "libc6-dev-$TARGETARCH-cross"; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    rustup target add "$rust"; \
    echo "$rust" > /rust-target; \
    echo "$gnu" > /gnu-target

COPY Cargo.toml Cargo.lock ./
COPY src src
# A member of the workspace: not built here, but cargo wants to know it.
COPY bench bench

# glibc rather than musl: its allocator is the one the figures in docs/benchmarks.md are made
# with. Linked in whole, since the image below has no loader. A program that asks for one would
# fail only when started there, so it fails here. With the feature for clusters: what is not told
# --kube contacts nobody. The last flags are for a binary that comes out the same wherever cargo keeps
# its sources (.ci/reproducible): paths get into it with the places of panics.
RUN --mount=type=cache,id=scalesocket-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=scalesocket-target-$TARGETARCH,target=/src/target \
    rust=$(cat /rust-target); \
    gnu=$(cat /gnu-target); \
    name=$(echo "$rust" | tr a-z- A-Z_); \
    export "CARGO_TARGET_${name}_LINKER=$gnu-gcc" "CC_$(echo "$rust" | tr - _)=$gnu-gcc"; \
    export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=${CARGO_HOME:?}=/cargo"; \
    export CFLAGS="-ffile-prefix-map=$CARGO_HOME=/cargo"; \
    cargo build --release --locked --features kube --bin scalesocket --target "$rust"; \
    install -D "target/$rust/release/scalesocket" /out/scalesocket; \
    headers=$(readelf --program-headers /out/scalesocket); \
    if grep INTERP <<< "$headers"; then exit 1; fi

FROM scratch
LABEL org.opencontainers.image.title="scalesocket" \
      org.opencontainers.image.description="Serve any program that reads stdin and writes stdout as a multiplayer websocket service" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY LICENSE-APACHE LICENSE-MIT /licenses/
COPY --from=build /out/scalesocket /usr/local/bin/scalesocket
# By number, so that a cluster can see that it is not root. There is no user file to look it up in.
USER 65532:65532
EXPOSE 9000
# Whatever address, TLS or path the container's server was given: the check reads its command line.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["/usr/local/bin/scalesocket", "probe", "--pid", "1", "--timeout", "2s"]
ENTRYPOINT ["/usr/local/bin/scalesocket"]
