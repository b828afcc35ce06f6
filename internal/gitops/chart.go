package gitops

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/component-base/version"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
)

// parse turns the files of an Application's path into objects; when they are a Helm chart, it is rendered first.
func parse(ctx context.Context, files []source.File, from source.From, application string, helm *v1alpha1.Helm) ([]*source.Object, error) {
	root, isChart := source.ChartRoot(files)
	if !isChart {
		if helm != nil {
			return nil, source.ParseErrors{{File: source.ChartFile, Message: "spec.source.helm is set, but spec.source.path holds no Helm chart; take it away, or point the path at the chart's folder"}}
		}
		return source.Parse(files, from)
	}
	r := chart.Release{Name: application, Namespace: from.DefaultNamespace, KubeVersion: kubeVersion()}
	if helm != nil {
		if helm.ReleaseName != "" {
			r.Name = helm.ReleaseName
		}
		r.ValuesFiles = helm.ValuesFiles
		if helm.Values != nil && len(helm.Values.Raw) > 0 {
			if err := json.Unmarshal(helm.Values.Raw, &r.Values); err != nil {
				return nil, fmt.Errorf("spec.source.helm.values: %w", err)
			}
		}
	}
	rendered, err := chart.Render(ctx, files, root, r)
	if err != nil {
		return nil, err
	}
	from.Omit = chart.Omit
	return source.Parse(rendered, from)
}

// kubeVersion is what charts are told; empty in a program that was built without a version, which leaves the choice to Helm.
func kubeVersion() string {
	v := version.Get().GitVersion
	if strings.HasPrefix(v, "v0.") {
		return ""
	}
	return v
}

// helmText and helmOf turn the Application's words about a chart into text, by which two of them can be compared, and back.
func helmText(h *v1alpha1.Helm) string {
	if h == nil {
		return ""
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("values that the API server has accepted cannot be written as JSON: %v", err))
	}
	return string(text)
}

func helmOf(text string) (*v1alpha1.Helm, error) {
	if text == "" {
		return nil, nil
	}
	h := &v1alpha1.Helm{}
	if err := json.Unmarshal([]byte(text), h); err != nil {
		return nil, fmt.Errorf("spec.source.helm: %w", err)
	}
	return h, nil
}
