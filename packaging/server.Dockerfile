# restic-manager: one static binary, CA certificates, nothing else.
FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV GOWORK=off
COPY shared/go.mod shared/
COPY migrations/go.mod migrations/go.sum migrations/
COPY frontend/go.mod frontend/
COPY server/go.mod server/go.sum server/
RUN go -C server mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go -C server build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/restic-manager . \
    && mkdir -p /out/data

FROM scratch
LABEL org.opencontainers.image.title="restic-manager" \
      org.opencontainers.image.description="Central manager for restic backups across many machines: the server" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/restic-manager /usr/bin/restic-manager
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/restic-manager
USER 65532:65532
ENV RESTIC_MANAGER_DATA_DIR=/var/lib/restic-manager
VOLUME ["/var/lib/restic-manager"]
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/bin/restic-manager", "healthcheck"]
ENTRYPOINT ["/usr/bin/restic-manager"]
CMD ["serve"]
