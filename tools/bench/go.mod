module restic-manager/tools/bench

go 1.26.8
