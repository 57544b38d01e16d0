# The image of ronde: one static binary and nothing else. About 5.6 MB.
#
#   docker build -t ronde .
#   docker run -p 8080:8080 ronde --listen :8080 app1:8000 app2:8000
#
# Builds on x86-64 and on ARM (Raspberry Pi, Apple silicon), with BuildKit or the classic builder.

# --- The first stage compiles -------------------------------------------------------------------
FROM rust:1.95-slim AS build
WORKDIR /ronde

# `crt-static` links the C library into the binary, because the second stage has none. The target is
# named although it is the build machine: this keeps the flag away from the procedural macros, which
# the compiler loads at build time, and a static library cannot be loaded.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# First only the dependencies, with an empty program. Docker caches the result of every step and
# repeats a step only when a file that it copies has changed. So after a change in src/ the next
# build starts below, and no dependency is downloaded or compiled twice.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)"

# Then ronde itself. Cargo compares time stamps; without `touch` the empty program would look newer.
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" \
    && cp "target/$(rustc --print host-tuple)/release/ronde" /ronde/binary

# --- The second stage is what runs --------------------------------------------------------------
# No distribution, no shell, no packages to update: `scratch` is the empty image.
FROM scratch
COPY --from=build /ronde/binary /ronde

# Not root. A number, because the image has no /etc/passwd that could resolve a name.
USER 65532:65532

EXPOSE 8080

# `ronde health` asks the ronde that runs in this container, and finds its address in the same
# settings: in the arguments of the container, in its RONDE_... variables, or in the file that
# either of them names. It takes no turn of a backend.
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=3 CMD ["/ronde", "health"]

ENTRYPOINT ["/ronde"]
