# restic-manager: one static binary, the agents it hands out, CA certificates, nothing else.
FROM node:20-bookworm AS pages
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
COPY packaging/restic-manager-agent.service ../packaging/
RUN npm run build

FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV GOWORK=off
COPY shared/go.mod shared/
COPY schedule/go.mod schedule/go.sum schedule/
COPY migrations/go.mod migrations/go.sum migrations/
COPY frontend/go.mod frontend/
COPY packaging/go.mod packaging/
COPY server/go.mod server/go.sum server/
COPY agent/go.mod agent/go.sum agent/
RUN go -C server mod download && go -C agent mod download
COPY . .
COPY --from=pages /src/frontend/dist frontend/dist
ARG VERSION=dev
RUN CGO_ENABLED=0 go -C server build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/restic-manager . \
    && mkdir -p /out/data /out/agents \
    && for platform in amd64 arm64 armv7; do \
        CGO_ENABLED=0 GOOS=linux GOARCH="${platform%v7}" GOARM=7 go -C agent build -trimpath -ldflags "-s -w -X main.version=${VERSION}" \
            -o "/out/agents/restic-manager-agent-linux-$platform" . || exit 1; \
    done

FROM scratch
LABEL org.opencontainers.image.title="restic-manager" \
      org.opencontainers.image.description="Central manager for restic backups across many machines: the server" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/restic-manager /usr/bin/restic-manager
COPY --from=build /out/agents /usr/lib/restic-manager/agents
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/restic-manager
USER 65532:65532
ENV RESTIC_MANAGER_DATA_DIR=/var/lib/restic-manager
VOLUME ["/var/lib/restic-manager"]
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/bin/restic-manager", "healthcheck"]
ENTRYPOINT ["/usr/bin/restic-manager"]
CMD ["serve"]
