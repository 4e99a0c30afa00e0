# Syncline. "make help" lists the targets; each sets up what it needs.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules --no-print-directory

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X syncline/internal/cli.version=$(VERSION)
FUZZTIME ?= 20s

# The product needs no C compiler, and the tests test it as it is built. Only
# the race detector needs one (scripts/test).
export CGO_ENABLED := 0

# The npm packages of the examples, of the stand-ins and of the end-to-end tests, by npm's own stamp.
PROJECTS := $(patsubst %/package-lock.json,%/node_modules/.package-lock.json,$(wildcard examples/*/package-lock.json internal/standin/*/package-lock.json e2e/testdata/*/package-lock.json))

TOOLS := bin/golangci-lint bin/gotestsum bin/govulncheck

.PHONY: help build demo test unit race e2e sim lint verify vuln docs fuzz bench clean packages

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/syncline (no C compiler needed)
	go build -ldflags '$(LDFLAGS)' -o bin/syncline ./cmd/syncline

demo: build packages ## Tell the story of the README on the terminal; ONCE=1 ends by itself
	@go run ./examples/github-issues/demo $(if $(ONCE),-once)

test: build packages bin/gotestsum ## Run every test: units, race detector, end to end
	@scripts/test unit race e2e

unit: packages bin/gotestsum ## Run the unit tests; PKG=./internal/cli runs those of one package
	@scripts/test unit

race: packages bin/gotestsum ## Run the unit tests under the race detector (reduced cases; needs a C compiler)
	@scripts/test race

e2e: build packages bin/gotestsum ## Run the end-to-end tests against the built binary
	@scripts/test e2e

sim: ## Tell more than a million steps of the simulation, and some on each store
	SYNCLINE_SIM_SEEDS=70 SYNCLINE_SIM_STORES=6000 go test -count=1 -v -run Neither ./sim

lint: bin/golangci-lint ## Run the linters, import rules included
	bin/golangci-lint run

verify: lint bin/govulncheck ## Check what needs no test run: format, lint, generated files, go.mod, known vulnerabilities
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  if [[ -n $$unformatted ]]; then echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags crashpoints ./internal/...
	go mod tidy -diff
	cd tools && go mod tidy -diff
	@for module in examples/*/go.mod; do (cd $$(dirname $$module) && go vet ./... && go mod tidy -diff) || exit 1; done
	go test ./internal/config -run '^TestReferencePage$$' -count=1
	@scripts/vuln

docs: ## Write the generated documentation
	go generate ./internal/config

fuzz: ## Run every fuzz target for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME)

bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem ./internal/...

clean: ## Remove what was built and installed here
	rm -rf bin coverage* examples/*/node_modules internal/standin/*/node_modules

packages: $(PROJECTS)

# node_modules is made new by npm ci, so that it is what the lock file says.
# What only type checking needs is left out.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
	@touch $@

# The tools have a module of their own: the product does not depend on them.
$(TOOLS): tools/go.mod tools/go.sum
	cd tools && go build -o ../$@ $$(sed -n 's#^[[:space:]]*\([^[:space:]]*/$(notdir $@)\)$$#\1#p' go.mod)
