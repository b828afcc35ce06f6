# `make build`, `make demo` and `make test` are all that a newcomer needs: each installs what is missing on a Debian machine and says so.
SHELL := /bin/bash
.DEFAULT_GOAL := build

# The version of the Kubernetes API that is served is the libraries' own.
KUBE := v$(shell go list -m -f '{{.Version}}' k8s.io/apiserver 2>/dev/null | sed 's/^v0\./1./')
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
K := k8s.io/component-base/version
LDFLAGS := -s -w -X main.release=$(VERSION) -X $(K).gitVersion=$(KUBE)+gitopsd -X $(K).gitMajor=1 \
	-X $(K).gitMinor=$(word 2,$(subst ., ,$(KUBE))) -X $(K).gitTreeState=clean
# Without gRPC's tracing pages the linker can leave out what is not called: it halves bin/node.
BUILD := CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags '$(LDFLAGS)'

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# A cluster on this machine: see docs/cluster.md.
WORKERS ?= 2
DIR ?= $(CURDIR)/.cache/cluster

.PHONY: build demo test race lint bench cluster cluster-down clean-host generate

## build: static bin/gitopsd and bin/node
build:
	$(BUILD) -o bin/ ./cmd/gitopsd ./cmd/node

## demo: the whole story on a cluster of network namespaces, each step with its time
demo: tools build
	$(BUILD) -o bin/ ./test/...
	bin/demo

## test: every test; as root nothing is skipped
test: test-tools build
	$(BUILD) -o bin/ ./test/...
	CGO_ENABLED=0 go test -trimpath -timeout 15m ./...

## race: the tests of everything but whole clusters, under the race detector
race: test-tools
	go test -race -trimpath -timeout 30m $$(go list ./... | grep -v /test/e2e)

## lint: formatting, vet, staticcheck, govulncheck
lint:
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 go run $(STATICCHECK) ./...
	CGO_ENABLED=0 go run $(GOVULNCHECK) ./...

## bench: the figures that docs/benchmarks.md quotes
bench: tools build
	$(BUILD) -o bin/ ./test/... ./bench/...
	bin/bench
	CGO_ENABLED=0 go test -trimpath -run '^$$' -bench Schedule -benchtime 10000x ./internal/controlplane/scheduler/core
	CGO_ENABLED=0 go test -trimpath -run '^$$' -bench 'Preempt|TurnedAway' -benchtime 1000x ./internal/controlplane/scheduler/core

## cluster: WORKERS hosts and a control plane as network namespaces, recorded in DIR/env (IMAGES=DIR, MIRROR_PORT=N)
cluster: tools build
	$(BUILD) -o bin/ ./test/...
	bin/localcluster up --workers $(WORKERS) --dir $(DIR) $(if $(IMAGES),--images $(IMAGES)) $(if $(MIRROR_PORT),--mirror-port $(MIRROR_PORT))

## cluster-down: remove every trace of the cluster in DIR
cluster-down:
	bin/localcluster down --dir $(DIR)

## clean-host: remove what killed runs have left on this machine
clean-host:
	$(BUILD) -o bin/ ./test/...
	bin/localcluster clean-host

## generate: write the generated files anew
generate:
	hack/generate.sh

.PHONY: tools test-tools
tools:
	@hack/install-tools run
test-tools:
	@hack/install-tools test
