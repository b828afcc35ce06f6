package gitops

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/component-base/version"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/render"
	"github.com/gitopsd/gitopsd/internal/source/sops"
)

// renderInput is what a commit of an Application is rendered from, but for the tree.
func renderInput(git *source.Git, req source.Request, application string, from shape, spec v1alpha1.Rendering, x extras, charts *chart.Fetcher, served []string, commit string) render.Input {
	namespace := from.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	repo := from.url
	if alone(repo) {
		repo = source.Redact(spec.Helm.Chart.URL)
	}
	return render.Input{
		Path: from.path, Spec: spec, Application: application,
		From:    source.From{Repo: repo, Commit: commit, DefaultNamespace: namespace},
		Cluster: chart.Cluster{KubeVersion: kubeVersion(), APIVersions: served},
		Keys:    x.keys, Variables: x.variables, Values: x.values, Charts: charts, ChartCredentials: x.charts,
		Remote: &render.Remotes{Git: git, From: req, Allowed: spec.Remotes},
	}
}

// extras are what an Application's objects are rendered from besides Git: keys, and values of variables.
type extras struct {
	keys      *sops.Keys
	variables map[string]string
	// values are those of spec.source.helm.valuesFrom, in order.
	values []source.File
	// charts are the credentials of repositories of charts, by URL.
	charts map[string]source.Credentials
	// version is the one that the named chart's range meant at the last look.
	version string
	// fingerprint tells two of them apart.
	fingerprint string
}

// readExtras reads the Secrets and ConfigMaps that an Application names for rendering. The error is a *source.Error where one is missing or wrong.
func readExtras(ctx context.Context, core typedcorev1.CoreV1Interface, namespace string, spec v1alpha1.Rendering) (extras, error) {
	var x extras
	sum := sha256.New()
	note := func(kind, name string, data map[string][]byte) {
		fmt.Fprintf(sum, "%s %q\n", kind, name)
		for _, k := range slices.Sorted(maps.Keys(data)) {
			fmt.Fprintf(sum, "%q %d\n", k, len(data[k]))
			sum.Write(data[k])
		}
	}
	wrong := func(name, field string, err error) error {
		return &source.Error{Reason: source.InvalidCredentials, Message: fmt.Sprintf("Secret %s/%s, which %s names", namespace, name, field), Err: err}
	}
	if d := spec.Decryption; d != nil {
		data, err := secretData(ctx, core, namespace, d.SecretRef.Name, "spec.source.decryption.secretRef")
		if err != nil {
			return x, err
		}
		keys, err := sops.Parse(data)
		if err != nil {
			return x, wrong(d.SecretRef.Name, "spec.source.decryption.secretRef", err)
		}
		x.keys = &keys
		note("decryption", d.SecretRef.Name, data)
	}
	if s := spec.Substitute; s != nil {
		x.variables = map[string]string{}
		for i, from := range s.From {
			data, err := dataOf(ctx, core, namespace, from, fmt.Sprintf("spec.source.substitute.from[%d]", i))
			if err != nil {
				return x, err
			}
			for k, v := range data {
				x.variables[k] = string(v)
			}
			note(from.Kind, from.Name, data)
		}
		maps.Copy(x.variables, s.Variables)
	}
	if h := spec.Helm; h != nil {
		for i, from := range h.ValuesFrom {
			data, err := dataOf(ctx, core, namespace, v1alpha1.SubstituteFrom{Kind: from.Kind, Name: from.Name, Optional: from.Optional}, fmt.Sprintf("spec.source.helm.valuesFrom[%d]", i))
			if err != nil {
				return x, err
			}
			key := cmp.Or(from.Key, "values.yaml")
			values, ok := data[key]
			switch {
			case !ok && from.Optional:
				continue
			case !ok:
				return x, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s %s/%s, which spec.source.helm.valuesFrom[%d] names, has no key %q", from.Kind, namespace, from.Name, i, key)}
			}
			if from.Kind == "Secret" && yaml.Unmarshal(values, &map[string]any{}) != nil { // whose message could quote the Secret
				return x, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("key %s of Secret %s/%s, which spec.source.helm.valuesFrom[%d] names, holds no values in YAML", key, namespace, from.Name, i)}
			}
			x.values = append(x.values, source.File{Path: fmt.Sprintf("%s %s/%s, key %s", from.Kind, namespace, from.Name, key), Data: values})
			note(from.Kind, from.Name, map[string][]byte{key: values})
		}
	}
	for _, r := range repositories(spec.Helm) {
		var c source.Credentials
		if r.SecretRef != nil {
			data, err := secretData(ctx, core, namespace, r.SecretRef.Name, "spec.source.helm")
			if err != nil {
				return x, err
			}
			c = source.CredentialsFromSecret(namespace+"/"+r.SecretRef.Name, data)
		}
		c.Insecure = r.Insecure
		if x.charts == nil {
			x.charts = map[string]source.Credentials{}
		}
		x.charts[strings.TrimSuffix(r.URL, "/")] = c
	}
	x.fingerprint = hex.EncodeToString(sum.Sum(nil))
	return x, nil
}

// repositories are those of charts that an Application names.
func repositories(h *v1alpha1.Helm) []v1alpha1.HelmRepository {
	if h == nil {
		return nil
	}
	all := slices.Clone(h.Repositories)
	if h.Chart != nil {
		all = append(all, h.Chart.HelmRepository)
	}
	return all
}

// dataOf reads a ConfigMap or Secret; field is where the Application names it.
func dataOf(ctx context.Context, core typedcorev1.CoreV1Interface, namespace string, from v1alpha1.SubstituteFrom, field string) (map[string][]byte, error) {
	data := map[string][]byte{}
	var err error
	switch from.Kind {
	case "ConfigMap":
		var cm *corev1.ConfigMap
		if cm, err = core.ConfigMaps(namespace).Get(ctx, from.Name, metav1.GetOptions{}); err == nil {
			for k, v := range cm.Data {
				data[k] = []byte(v)
			}
		}
	case "Secret":
		var secret *corev1.Secret
		if secret, err = core.Secrets(namespace).Get(ctx, from.Name, metav1.GetOptions{}); err == nil {
			data = secret.Data
		}
	default:
		return nil, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s.kind: %q is neither ConfigMap nor Secret", field, from.Kind)}
	}
	switch {
	case apierrors.IsNotFound(err) && from.Optional:
		return nil, nil
	case apierrors.IsNotFound(err):
		return nil, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%s %s/%s, which %s names, does not exist; create it, or set optional", from.Kind, namespace, from.Name, field)}
	case err != nil:
		return nil, fmt.Errorf("reading %s %s/%s: %w", from.Kind, namespace, from.Name, err)
	}
	return data, nil
}

// secretData reads a Secret; field is where the Application names it.
func secretData(ctx context.Context, core typedcorev1.CoreV1Interface, namespace, name, field string) (map[string][]byte, error) {
	secret, err := core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, &source.Error{Reason: source.InvalidCredentials, Message: fmt.Sprintf("Secret %s/%s, which %s names, does not exist; create it", namespace, name, field)}
	case err != nil:
		return nil, fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}
	return secret.Data, nil
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
