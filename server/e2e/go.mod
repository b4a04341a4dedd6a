module restic-manager/server/e2e

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/klauspost/compress v1.20.3
	golang.org/x/sys v0.49.0
	restic-manager/agent v0.0.0
	restic-manager/server v0.0.0
	restic-manager/shared v0.0.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace restic-manager/shared => ../../shared

replace restic-manager/agent => ../../agent

replace restic-manager/server => ../../server

replace restic-manager/migrations => ../../migrations

replace restic-manager/frontend => ../../frontend
