# restic-manager-agent with Debian's restic. Mount what is to be backed up read-only below /host, give the
# container a hostname that stays, and keep the three volumes.
FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV GOWORK=off
COPY shared/go.mod shared/
COPY schedule/go.mod schedule/go.sum schedule/
COPY agent/go.mod agent/go.sum agent/
RUN go -C agent mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go -C agent build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/restic-manager-agent .

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="restic-manager-agent" \
      org.opencontainers.image.description="Central manager for restic backups across many machines: the agent" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates openssh-client restic tini \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/restic-manager-agent /usr/bin/restic-manager-agent
VOLUME ["/etc/restic-manager", "/var/lib/restic-manager-agent", "/var/cache/restic-manager-agent"]
# Restic's supervisor outlives a restart of the agent, not one of the container: the job then ends as
# failed{interrupted}.
# tini reaps what loses its parent: restic takes the lock of a killed restic for live while a zombie has its pid.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/bin/restic-manager-agent"]
CMD ["run"]
