# ronde's image: one static binary in an image that holds nothing else. About 3 MB.
#
#   docker build -t ronde .
#   docker run -p 8080:8080 ronde --listen :8080 app1:8000 app2:8000
#
# Builds on x86-64 and on ARM (Raspberry Pi, Apple silicon), with BuildKit and with the classic builder.

# --- The first stage compiles -------------------------------------------------------------------
FROM rust:1.95-slim AS build
WORKDIR /ronde

# `crt-static` puts the C library into the binary too: the second stage has none. Naming the target,
# even though it is the machine we build on, keeps this flag away from the procedural macros: the
# compiler loads these at build time, and a static library cannot be loaded.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# First the dependencies alone, with an empty program around them. Docker keeps the result of every
# step and repeats it only when a file it copies has changed. So after a change in src/ the next
# build starts below, and nothing is downloaded or compiled twice.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)"

# Then ronde. Cargo goes by time stamps: `touch`, or it would take the empty program for newer.
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --target "$(rustc --print host-tuple)" \
    && cp "target/$(rustc --print host-tuple)/release/ronde" /ronde/binary

# --- The second stage is what runs --------------------------------------------------------------
# No distribution, no shell, no package that could need an update: `scratch` is the empty image.
FROM scratch
COPY --from=build /ronde/binary /ronde

# Not root. A number, because there is no /etc/passwd to look a name up in.
USER 65532:65532

EXPOSE 8080

# `ronde health` asks the ronde that runs in this container. It finds it by the same settings, so give
# these by RONDE_... variables or by a file that RONDE_CONFIG names, as compose.yaml does: a health
# check sees the container's variables, but not the arguments the container was started with.
# Without any it asks port 8080. It does not take a backend's turn.
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=3 CMD ["/ronde", "health"]

ENTRYPOINT ["/ronde"]
