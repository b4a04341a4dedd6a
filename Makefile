# make run    build all, start server and agent on this machine, back up a real folder
# make test   everything that can be tested here
# make bench  what it costs, each figure beside a baseline of the same run
# make help   the rest

SHELL   := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
MODULES := shared schedule migrations frontend packaging server agent server/e2e simulation
LDFLAGS := -s -w -X main.version=$(VERSION)

# Names no host of a package registry in a lock file, and downloads no toolchain of its own.
export GOTOOLCHAIN := local
export npm_config_omit_lockfile_registry_resolved := true

.PHONY: help build packages pages browser run demo test check unit e2e simulate mutants faults compat faultbin demobin bench openapi fuzz clean

help:
	@echo "make run       build all, start server and agent here, make a demo repository, back up a folder"
	@echo "make demo      a made-up fleet to look at: HOSTS=10000 JOBS=1000000 LIVE=8, DATABASE_URL= for PostgreSQL"
	@echo "make test      all tests: Go with -race on SQLite and PostgreSQL, real restic of both versions"
	@echo "make simulate  histories of the rules under a virtual clock, network and disk: SEEDS=n, or SEED=s with its trace"
	@echo "make faults    kills, losses and full disks on the real programs, and the table of what they did: ROWS=regexp"
	@echo "make mutants   takes each rule out and counts the histories that notice: SEEDS=n each, ONLY=regexp"
	@echo "make browser   the dashboard in Chromium against the real programs, with pictures in frontend/shots"
	@echo "make compat    agents and servers of an earlier commit with those of now, and upgrades: OLDER=commit"
	@echo "make bench     benchmarks, each with its baseline in the same run"
	@echo "make build     static binaries in bin/, and in bin/agents/ the agents that the server hands out"
	@echo "make packages  .deb and .rpm of server and agent for amd64 and arm64, in bin/packages"
	@echo "make check     formatting, vet, module boundaries"
	@echo "make fuzz      each fuzz target for FUZZTIME (3m)"
	@echo "make openapi   write frontend/openapi.json from the code"
	@echo "make clean     remove bin/ and the demo's folder"

build: pages
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/restic-manager ./server
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/restic-manager-agent ./agent
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/agents/restic-manager-agent-linux-amd64 ./agent
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/agents/restic-manager-agent-linux-arm64 ./agent
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=7 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/agents/restic-manager-agent-linux-armv7 ./agent

# ARCHES: for which machines. SOURCE_DATE_EPOCH, the time of the commit: the same tree makes the same packages.
ARCHES ?= amd64 arm64
packages: build
	for arch in $(ARCHES); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags '$(LDFLAGS)' -o bin/restic-manager-linux-$$arch ./server || exit 1; done
	cd tools/packages && GOWORK=off go build -o ../../bin/make-packages .
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} bin/make-packages -version '$(VERSION)' -arch '$(ARCHES)'

# The dashboard, which the server embeds: its packages as the lock file names them, then its build.
PAGES := $(shell find frontend/src frontend/public packaging/restic-manager-agent.service -type f 2>/dev/null)
pages: frontend/dist/index.html

frontend/node_modules/.package-lock.json: frontend/package-lock.json
	@echo "installing the dashboard's packages (npm ci) into frontend/node_modules"
	cd frontend && npm ci --no-audit --no-fund
	@touch $@

frontend/dist/index.html: frontend/node_modules/.package-lock.json frontend/index.html frontend/vite.config.ts frontend/postcss.config.cjs frontend/tools/budget.mjs $(PAGES)
	cd frontend && npm run --silent build

# For tests alone: the programs with their failpoints, a restic that does what a script says, and the agent with a
# clock that can be set.
faultbin:
	CGO_ENABLED=0 go build -tags failpoint -trimpath -ldflags '$(LDFLAGS)' -o bin/failpoint/restic-manager ./server
	CGO_ENABLED=0 go build -tags failpoint -trimpath -ldflags '$(LDFLAGS)' -o bin/failpoint/restic-manager-agent ./agent
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/failpoint/scripted-restic ./server/e2e/scripted
	tools/wrong-clock bin/failpoint/restic-manager-agent-clock -trimpath -ldflags '$(LDFLAGS)'

demobin:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/demo ./server/e2e/demo

run: build
	@tools/install restic:restic
	@exec node tools/run.mjs

# HOSTS, JOBS, LIVE: how many machines, jobs, and machines that work; DATABASE_URL: an empty PostgreSQL database.
demo: build demobin
	@exec node tools/demo.mjs

# Formatting, vet, and each module by itself: without the workspace a forbidden import does not build.
check: frontend/node_modules/.package-lock.json
	@test -z "$$(gofmt -l $(MODULES))" || { echo "not formatted:"; gofmt -l $(MODULES); exit 1; }
	@test -z "$$(gofmt -l tools)" || { echo "not formatted:"; gofmt -l tools; exit 1; }
	@for m in $(MODULES); do (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./...) || exit 1; done
	@(cd tools/lint && GOWORK=off go build -o ../../bin/lint .) && bin/lint
	@cd frontend && npm run --silent check

# What the tests stand on: Debian's PostgreSQL, both supported restic versions, systemd's checker, and the
# shells and programs that the install script is tried with, and the proxies.
WITH = tools/install 'postgresql:/usr/lib/postgresql/*/bin/postgres' systemd:systemd-analyze rpm:rpm iproute2:ss procps:pgrep strace:strace \
		shellcheck:shellcheck busybox:busybox curl:curl wget:wget dash:dash nginx:/usr/sbin/nginx caddy:caddy haproxy:/usr/sbin/haproxy chromium:chromium fonts-dejavu-core:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf && \
	RESTIC_MANAGER_TEST_TOOLS=$$(tools/fetch-restic) && export RESTIC_MANAGER_TEST_TOOLS && \
	RESTIC_MANAGER_TEST_BIN=$(CURDIR)/bin && export RESTIC_MANAGER_TEST_BIN

# SQLite is C made into Go, one goroutine at a time under a lock of its own: the race detector finds nothing in it and
# makes it more than twice as slow.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false -gcflags=modernc.org/memory=-race=false

# The agent's first: its tests start many programs, which under the race detector take a second each to end, and the server's
# make use of that.
UNIT = ./agent/... ./shared/... ./schedule/... ./migrations/... ./frontend/... ./packaging/... ./server/...

unit: build
	cd frontend && npm test --silent
	$(WITH) && tools/postgres volatile bash -ec 'go test $(RACE) -timeout 20m $(UNIT); $(WALKS)'
	$(SIMULATION)

# One goroutine a history: the race detector has nothing to look for there, and costs five times the time. So it is with
# the pure rules of due times and retention: under the race detector they have no tests.
SIMULATION = go test ./simulation/... ./schedule/... ./server/retention/... ./agent/planner/...

# Both kinds of packages, installed, upgraded and removed in a small Debian of their own, which takes root.
PACKAGES = (cd tools/packages && GOWORK=off go vet . && GOWORK=off go test -count=1 $(if $(filter-out 0,$(shell id -u)),-exec "sudo -E") .)

# Walks over every route with every text, and thousands of hosts: what they look for is in the answers. Under the race
# detector, which took a quarter of an hour for them, they have no tests.
WALKS = go test ./server/api ./server/policy -run "^Test(Injections|TextOfMachines|Poisoned|ADemotion|APolicyOfTenThousand)"

E2E = go test $(RACE) -count=1 -timeout 60m -parallel 10 ./server/e2e/...

# A hundred thousand rows by one goroutine: the same holds. Under the race detector these have no tests.
PLANS = go test -count=1 -timeout 20m ./server/e2e/demo/... ./server/e2e/plans

# SEEDS histories, or the one of SEED with its trace.
SEEDS ?= 500
simulate:
	@go run ./simulation/cmd/simulate -seeds $(SEEDS) $(if $(SEED),-seed $(SEED))

mutants:
	@go run ./simulation/cmd/mutants -seeds $(SEEDS) $(if $(ONLY),-only '$(ONLY)') -write docs/simulation.md

e2e: build faultbin
	$(WITH) && tools/postgres volatile bash -ec '$(E2E); $(PLANS)'

# Older and newer programs together: the older ones are built from this repository's history (OLDER=commit).
compat: build
	tools/older
	$(WITH) && tools/postgres volatile go test -tags compat -count=1 -timeout 60m -parallel 6 -run '^TestCompat' ./server/e2e

# The dashboard in Debian's Chromium, on both databases; pictures of what was seen lie in frontend/shots.
browser: build faultbin demobin
	$(WITH) && tools/postgres volatile npm --prefix frontend run --silent browser

# ROWS: which tests of the table, for example ROWS=Agent. Of all, the one in which restic gives a repository up, which
# takes restic half an hour and no work, runs beside the others.
ROWS   ?=
FAULTS  = go test -count=1 -timeout 90m -parallel 6
AWAY    = ^TestFaultCutFromRepository$$
faults: build faultbin
	$(WITH) && export RESTIC_MANAGER_FAULTS=full RESTIC_MANAGER_FAULT_TABLE=$(CURDIR)/bin/faults.md && rm -f bin/faults*.md && \
		go test -tags failpoint ./shared/failpoint && \
		{ tools/postgres with bash -c '$(if $(ROWS),,RESTIC_MANAGER_FAULT_TABLE=$(CURDIR)/bin/faults-away.md $(FAULTS) -run "$(AWAY)" ./server/e2e & away=$$!;) \
			$(FAULTS) -run "^Test(Fault|Hostile|AHostile|SignIns).*$(ROWS)" $(if $(ROWS),,-skip "$(AWAY)") ./server/e2e; code=$$?; \
			wait $$away || code=1; exit $$code'; code=$$?; \
		head -n 2 bin/faults.md; tail -qn +3 bin/faults*.md | sort -t "|" -k 2n -s; exit $$code; }

test: check build faultbin demobin
	cd frontend && npm test --silent
	$(WITH) && tools/postgres volatile bash -ec 'go test $(RACE) -timeout 20m $(UNIT); $(WALKS); go test -tags failpoint ./shared/failpoint; $(SIMULATION); $(PACKAGES); $(E2E); $(PLANS); npm --prefix frontend run --silent browser'

# N: how often each benchmark is run. ONLY: which lines of docs/benchmarks.md, for example ONLY=1,2,10.
N    ?= 5
ONLY ?=
bench: build
	@(cd tools/bench && GOWORK=off go vet . && GOWORK=off go test . && GOWORK=off go build -o ../../bin/bench .)
	$(WITH) && tools/postgres with bin/bench -n $(N) -only '$(ONLY)' -write $(if $(ONLY),bin,bench)/results.md

FUZZTIME ?= 3m
fuzz:
	@FUZZTIME=$(FUZZTIME) tools/fuzz $(MODULES)

openapi: build
	bin/restic-manager openapi > frontend/openapi.json

clean:
	rm -rf bin .run frontend/node_modules frontend/dist/assets frontend/dist/index.html
