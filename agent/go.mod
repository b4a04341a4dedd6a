module restic-manager/agent

go 1.26.0

require restic-manager/shared v0.0.0

require github.com/godbus/dbus/v5 v5.2.4

require (
	github.com/alecthomas/kong v1.17.0
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8
	github.com/klauspost/compress v1.20.3
	github.com/robfig/cron/v3 v3.0.1 // indirect
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/sys v0.49.0
	restic-manager/schedule v0.0.0
)

replace restic-manager/shared => ../shared

replace restic-manager/schedule => ../schedule
