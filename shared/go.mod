module restic-manager/shared

go 1.26.0
