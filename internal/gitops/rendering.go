package gitops

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/version"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/render"
)

// renderInput is what a commit of an Application is rendered from, but for the tree.
func renderInput(git *source.Git, req source.Request, application string, from shape, spec v1alpha1.Rendering, commit string) render.Input {
	namespace := from.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return render.Input{
		Path: from.path, Spec: spec, Application: application,
		From:    source.From{Repo: from.url, Commit: commit, DefaultNamespace: namespace},
		Cluster: chart.Cluster{KubeVersion: kubeVersion()},
		Remote:  &render.Remotes{Git: git, From: req, Allowed: spec.Remotes},
	}
}

// kubeVersion is what charts are told; empty in a program that was built without a version, which leaves the choice to Helm.
func kubeVersion() string {
	v := version.Get().GitVersion
	if strings.HasPrefix(v, "v0.") {
		return ""
	}
	return v
}

// renderingText and shape.spec turn the Application's words about rendering into text, by which two of them can be compared, and back.
func renderingText(r v1alpha1.Rendering) string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("values that the API server has accepted cannot be written as JSON: %v", err))
	}
	return string(text)
}

func (s shape) spec() (v1alpha1.Rendering, error) {
	var r v1alpha1.Rendering
	if err := json.Unmarshal([]byte(s.rendering), &r); err != nil {
		return r, fmt.Errorf("spec.source: %w", err)
	}
	return r, nil
}

// appliedSource is how the status says what a revision was made from.
func appliedSource(s shape) *v1alpha1.AppliedSource {
	out := &v1alpha1.AppliedSource{RepoURL: s.url, Path: s.path, TargetNamespace: s.namespace}
	if spec, err := s.spec(); err == nil { // it was made of one
		out.Rendering = spec
	}
	return out
}
