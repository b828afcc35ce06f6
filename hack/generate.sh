#!/usr/bin/env bash
# Writes the generated files anew: deep copies of api/, and the OpenAPI definitions of every API group that is served.
set -euo pipefail
cd "$(dirname "$0")/.."
go tool deepcopy-gen --output-file zz_generated.deepcopy.go --go-header-file hack/boilerplate.go.txt ./api/v1alpha1
groups=(
  k8s.io/api/{admissionregistration,apps,authentication,authorization,autoscaling,batch,certificates,coordination,core,discovery,events,flowcontrol,networking,node,policy,rbac,resource,scheduling,storage,storagemigration}/v1
  k8s.io/api/autoscaling/v2
  k8s.io/metrics/pkg/apis/metrics/v1beta1
  k8s.io/api/scheduling/v1alpha3 # part of a Job
  k8s.io/apimachinery/pkg/{api/resource,apis/meta/v1,runtime,util/intstr,version}
  github.com/gitopsd/gitopsd/api/v1alpha1
)
readonly=(); for g in "${groups[@]}"; do case "$g" in k8s.io/*) readonly+=(--readonly-pkg "$g") ;; esac; done
go tool openapi-gen --output-model-name-file zz_generated.model_name.go "${readonly[@]}" --output-dir internal/controlplane/openapi --output-pkg github.com/gitopsd/gitopsd/internal/controlplane/openapi \
  --output-file zz_generated.openapi.go --go-header-file hack/boilerplate.go.txt --report-filename /dev/null "${groups[@]}"
# The definitions of VolumeSnapshots are the CSI project's own.
snapshots=$(go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
for kind in volumesnapshotclasses volumesnapshotcontents volumesnapshots; do
  install -m 644 "$snapshots/config/crd/snapshot.storage.k8s.io_$kind.yaml" "internal/controlplane/controllers/volumesnapshot/definitions/$kind.yaml"
done
