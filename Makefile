# Everything that a developer runs. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CRD := config/crd/bases/batchrun.io_batchruns.yaml
REFERENCE := docs/reference/batchrun.md
IMG ?= ghcr.io/batchrun/batchrun:latest
KUBECTL ?= kubectl
GOLANGCI_LINT := go tool -modfile="$(CURDIR)/hack/tools/golangci-lint/go.mod" golangci-lint
HELM := go tool -modfile="$(CURDIR)/hack/tools/helm/go.mod" helm
CHART := config/chart
KO := go tool -modfile="$(CURDIR)/hack/tools/ko/go.mod" ko
ACTIONLINT := go tool -modfile="$(CURDIR)/hack/tools/actionlint/go.mod" actionlint
CONTROLLER_GEN := go tool controller-gen
LOCAL := go -C hack/local run .
GINKGO_FLAGS := -ginkgo.fail-on-empty -ginkgo.no-color
# The Kubernetes of the clusters that tests start: 1.34, 1.35 and so on; that of hack/local/parts if it is empty.
K8S ?= $(BATCHRUN_KUBERNETES)
MATRIX ?= 1.34 1.35 1.36 1.37
export BATCHRUN_KUBERNETES := $(K8S)

##@ General

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Develop

.PHONY: generate
generate: ## Write everything that is generated: deep copies, apply configurations, CRD, roles, reference pages.
	$(CONTROLLER_GEN) object applyconfiguration paths=./api/...
	$(CONTROLLER_GEN) rbac:roleName=batchrun-operator paths=./controllers/... output:rbac:dir=config/rbac
	$(CONTROLLER_GEN) crd:generateEmbeddedObjectMeta=true paths=./api/v1alpha1 output:stdout | \
		go run ./hack/crd -crd $(CRD) -reference $(REFERENCE)
	cp $(CRD) $(CHART)/files/crd.yaml
	cp config/rbac/role.yaml config/prometheus/rules.yaml config/prometheus/service_monitor.yaml $(CHART)/files/
	cp config/policy/parameters.yaml $(CHART)/files/policy.yaml
	cp config/policy/parameters_binding.yaml $(CHART)/files/policy_binding.yaml
	$(MAKE) plugin-docs

.PHONY: build
build: ## Build the operator into bin/.
	go build -o bin/ ./cmd/...

.PHONY: image
image: ## Build the operator's image for amd64 and arm64, an OCI image layout, into bin/image; no Docker, no registry.
	rm -rf bin/image
	base=$$(go -C hack/tools/ko run ./base "$(CURDIR)/bin/ko" linux/amd64 linux/arm64) && \
		TZ=UTC KOCACHE="$(CURDIR)/bin/ko" KO_DEFAULTBASEIMAGE="$$base" KO_DOCKER_REPO=$(firstword $(subst :, ,$(IMG))) \
		$(KO) build --bare --push=false --oci-layout-path=bin/image --image-user=65532 --sbom=none ./cmd/manager

.PHONY: plugin
plugin: ## Build the kubectl plugin into bin/, with its short name and the scripts that complete both.
	go build -o bin/ ./cmd/kubectl-batchrun
	install -m 0755 cmd/kubectl-batchrun/kubectl_complete-batchrun bin/
	ln -sf kubectl-batchrun bin/kubectl-br
	ln -sf kubectl_complete-batchrun bin/kubectl_complete-br

.PHONY: plugin-docs
plugin-docs: ## Write the reference page of the kubectl plugin.
	go run ./cmd/kubectl-batchrun/internal/docs -out docs/cli.md

.PHONY: lint
lint: chart-lint workflow-lint ## Run the linters.
	$(GOLANGCI_LINT) run
	cd hack/local && $(GOLANGCI_LINT) run --config ../../.golangci.yml

.PHONY: chart-lint
chart-lint: ## Lint the Helm chart.
	$(HELM) lint --strict --quiet $(CHART)

.PHONY: workflow-lint
workflow-lint: ## Lint the workflows of GitHub.
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: chart
chart: ## Show what the Helm chart installs; VALUES="--set namespaced=true" and so on are values.
	@$(HELM) template batchrun $(CHART) --namespace batchrun-system $(VALUES)

.PHONY: verify
verify: generate ## Generate, tidy, vet and lint; fail on any difference to what is committed.
	go mod tidy
	for module in hack/local hack/tools/*; do go -C $$module mod tidy; done
	@test -z "$$(git status --porcelain)" || { git status --short; git --no-pager diff; \
		echo "The files above differ from what is committed: commit what make verify wrote."; exit 1; }
	go vet ./...
	$(MAKE) lint

##@ Test

.PHONY: test
test: unit integration policy metrics archive fault e2e install-test ## Run all tests.

.PHONY: unit
unit: ## Run unit and property tests.
	go test $$(go list ./... | grep -v -E '/test/(e2e|install|integration|plugin|fault|policy|metrics|archive|release)$$')
	go -C hack/local test ./...

.PHONY: integration
integration: ## Run the tests against a control plane, started unless KUBECONFIG is set.
	go test -p 1 ./test/integration/... ./test/plugin/... -count=1 -timeout 45m $(GINKGO_FLAGS)

.PHONY: policy
policy: ## Have the site rules judge good and bad specs, on a control plane.
	go test ./test/policy/... -count=1 -timeout 20m $(GINKGO_FLAGS)

.PHONY: metrics
metrics: ## Test the alerts, and fill the dashboard, with a Prometheus that scrapes an operator.
	go test ./test/metrics/... -count=1 -timeout 20m $(GINKGO_FLAGS)

.PHONY: archive
archive: ## Archive logs into files and a real S3 server, and read them back; long ones too with ARCHIVE=all, for a quarter of an hour.
	go test ./test/archive/... -count=1 -timeout 60m $(GINKGO_FLAGS)

.PHONY: fault
fault: ## Play runs whose operator has faults, against a control plane; a part, or all of it with FAULT=all, for hours.
	go test ./test/fault/... -count=1 -timeout 6h $(GINKGO_FLAGS)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME, by default 10s.
	hack/fuzz.sh

MUTATED ?= plan indexset ledger logtail outcome parameters
.PHONY: mutation
mutation: ## Change the pure packages of MUTATED in many small ways, and see whether tests notice; for half an hour.
	for package in $(MUTATED); do GOFLAGS="-skip=TestStatusSize -vet=off" RAPID_CHECKS=30 RAPID_NOFAILFILE=true \
		go tool -modfile="$(CURDIR)/hack/tools/mutation/go.mod" gremlins unleash --workers 1 --timeout-coefficient 6 \
		--threshold-efficacy 85 ./controllers/$$package; done

.PHONY: e2e
e2e: ## Run the tests on a real node of their own.
	go test ./test/e2e/... -count=1 -timeout 60m $(GINKGO_FLAGS)

.PHONY: install-test
install-test: ## Install, upgrade and remove the operator on a real node, by Helm and by kustomize.
	go test ./test/install/... -count=1 -timeout 60m -v $(GINKGO_FLAGS)

.PHONY: matrix
matrix: ## Run the tests of integration and policy on each Kubernetes that can be built; MATRIX="1.34 1.36" are some.
	for version in $(MATRIX); do $(MAKE) integration policy K8S=$$version; done

.PHONY: release-test
release-test: ## Make a release twice, with two platforms, see that it is the same, and that it holds what it should.
	go test ./test/release/... -count=1 -timeout 60m -v

.PHONY: bench
bench: ## Measure BatchRun against bare Jobs, for hours; BENCH="-sizes 1000 -large 0 -many 0" is a part, BENCH=-help tells more.
	go build -o bin/bench ./test/bench
	bin/bench $(BENCH)

##@ Release

# The image and the plugin are built by this Go release, whichever runs make: another one writes other bits.
RELEASE_GO = $(shell awk '$$1 == "toolchain" {print $$2}' go.mod)

.PHONY: release
release: ## Write all that is released as VERSION, such as v1.2.3, into dist/; nothing is sent anywhere.
	@[[ "$${VERSION-}" == v* ]] || { echo "Say which version: make release VERSION=v1.2.3"; exit 1; }
	rm -rf dist
	GOFLAGS= GOTOOLCHAIN=$(RELEASE_GO) $(MAKE) image
	GOFLAGS= GOTOOLCHAIN=$(RELEASE_GO) go run ./hack/release -version "$$VERSION" -out dist $(if $(PLATFORMS),-platforms "$(PLATFORMS)")

##@ Try

.PHONY: demo
demo: ## Run the sample pi on a cluster, started unless KUBECONFIG is set.
	$(LOCAL) demo

.PHONY: cluster
cluster: ## Start a local Kubernetes with a real node.
	$(LOCAL) up

.PHONY: cluster-down
cluster-down: ## Stop the local Kubernetes and remove what it left.
	$(LOCAL) down

.PHONY: run
run: install ## Run the operator on this machine against the cluster of KUBECONFIG.
	go run ./cmd/manager

##@ Install

.PHONY: install
install: ## Install the CRD and the policy into the cluster of KUBECONFIG.
	$(KUBECTL) apply -k config/crd
	-$(KUBECTL) apply -k config/policy # Kubernetes before 1.36 has no such policies.

.PHONY: uninstall
uninstall: ## Remove the CRD, and with it all BatchRuns, and the policy.
	$(KUBECTL) delete --ignore-not-found -k config/crd
	-$(KUBECTL) delete --ignore-not-found -k config/policy

.PHONY: deploy
deploy: ## Install CRD and operator, image IMG, into the cluster of KUBECONFIG.
	$(KUBECTL) kustomize config/default | sed 's#ghcr.io/batchrun/batchrun:latest#$(IMG)#' | $(KUBECTL) apply -f -

.PHONY: undeploy
undeploy: ## Remove the operator and the CRD, and with it all BatchRuns.
	$(KUBECTL) delete --ignore-not-found -k config/default
