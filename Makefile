# `make` targets that a newcomer needs: build, demo, test. Each installs what is missing and says so.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The version of the Kubernetes API that is served: the one of the libraries, with ours behind it.
KUBE_VERSION := v$(shell go list -m -f '{{.Version}}' k8s.io/apiserver 2>/dev/null | sed 's/^v0/1/')
V := k8s.io/component-base/version
LDFLAGS := -s -w -X main.release=$(VERSION) -X $(V).gitVersion=$(KUBE_VERSION)+gitopsd -X $(V).gitTreeState=clean \
	-X $(V).gitMajor=1 -X $(V).gitMinor=$(word 2,$(subst ., ,$(KUBE_VERSION)))
GO := CGO_ENABLED=0 go
BUILD := $(GO) build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: build demo test cluster cluster-down bench lint clean-host generate tools race

build:
	$(BUILD) -o bin/ ./cmd/gitopsd ./cmd/node

tools:
	@hack/install-tools

generate:
	hack/generate.sh
