# The server in an image without a shell, as a user without rights.
#
# docker build --tag syncflow-server .
# docker run --publish 127.0.0.1:3000:3000 --volume syncflow:/var/lib/syncflow --env-file settings.env syncflow-server
#
# A server in it compacts every day. METRICS_BIND=0.0.0.0:9464 lets Prometheus read its metrics.
#
# The image listens on every address, so the server starts only with authentication, or with AUTH=off said aloud.

FROM docker.io/library/rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin syncflow-server --features traces && \
    install -D target/release/syncflow-server /image/usr/local/bin/syncflow-server && \
    install -d -o 65532 -g 65532 -m 0700 /image/var/lib/syncflow

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image /
ENV BIND=0.0.0.0 PORT=3000 SQLITE_PATH=/var/lib/syncflow/syncflow.db LOG_FORMAT=json COMPACT_EVERY_HOURS=24
WORKDIR /var/lib/syncflow
VOLUME /var/lib/syncflow
EXPOSE 3000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["/usr/local/bin/syncflow-server", "health"]
ENTRYPOINT ["/usr/local/bin/syncflow-server"]
CMD ["serve"]
