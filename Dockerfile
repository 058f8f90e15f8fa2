# Gemini-Pool in a container: built in one stage, run in another without a compiler, a shell's tools, or root.
#
#   docker build -t gemini-pool .
#   docker run -p 8000:8000 -v gemini-pool:/data -e ALLOWED_API_KEYS=an-access-key-of-your-own gemini-pool

# Debian's own Node.js is too old for the dashboard's build.
FROM node:22-bookworm-slim AS node

FROM rust:1.91-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin gemini-pool \
    && cp target/release/gemini-pool /gemini-pool

FROM debian:bookworm-slim
# TLS roots are in the program. The numbers are fixed, so that a volume keeps its owner over rebuilds.
RUN groupadd --gid 10001 gemini-pool \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gemini-pool \
    && install -d -o gemini-pool -g gemini-pool -m 0700 /data
COPY --from=build /gemini-pool /usr/local/bin/gemini-pool
USER 10001:10001
WORKDIR /data
ENV DATABASE_URL=fjall:/data \
    DATA_DIR=/data \
    PORT=8000
VOLUME /data
EXPOSE 8000
# Without access keys the pool listens on the container's own loopback, where nobody outside reaches it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["gemini-pool", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gemini-pool"]
CMD ["serve"]
