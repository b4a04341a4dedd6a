module restic-manager/frontend

go 1.26.0
