module restic-manager/packaging

go 1.26.0
