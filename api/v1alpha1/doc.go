// Package v1alpha1 holds the Application, the one kind that gitopsd adds to the Kubernetes API: a path in a Git repository
// whose rendered objects the control plane keeps applied.
//
// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=io.gitopsd.v1alpha1
// +groupName=gitopsd.io
package v1alpha1
