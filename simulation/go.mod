module restic-manager/simulation

go 1.26.0

require (
	restic-manager/agent v0.0.0
	restic-manager/server v0.0.0
	restic-manager/shared v0.0.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.49.0 // indirect
	restic-manager/schedule v0.0.0
)

replace restic-manager/shared => ../shared

replace restic-manager/agent => ../agent

replace restic-manager/server => ../server

replace restic-manager/migrations => ../migrations

replace restic-manager/frontend => ../frontend

replace restic-manager/packaging => ../packaging

replace restic-manager/schedule => ../schedule
