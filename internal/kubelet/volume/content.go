package volume

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/podcert"
)

// Source gives what volumes are made from. A missing object is a NotFound error of the API.
type Source interface {
	env.Sources
	Claims
	Disks
	Drivers
	// Token gets a token for the Pod's service account that is bound to the Pod.
	Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, error)
	// TrustAnchors gives the certificates of the ClusterTrustBundles that a projection selects, as PEM.
	TrustAnchors(ctx context.Context, p *v1.ClusterTrustBundleProjection) ([]byte, error)
	// Credential gives a key and the certificates that a signer issued for it. had is what the volume holds now, which may be nothing.
	Credential(ctx context.Context, s podcert.Source, had podcert.Credential) (podcert.Credential, error)
	// Away says whether an error of the methods above means that the API did not answer.
	Away(err error) bool
}

// The modes that the API gives to content whose volume does not set one.
const (
	defaultMode = 0o644
	tokenMode   = 0o600
)

// content computes the files of a volume that is made from the API, or nil if the volume is of another kind. had gives what the volume
// holds now, so that a token that is good for long yet is kept.
func content(ctx context.Context, pod *v1.Pod, v *v1.Volume, facts env.Facts, src Source, now time.Time, had func(path string) []byte) (Files, error) {
	files := Files{}
	var err error
	switch {
	case v.ConfigMap != nil:
		err = configMap(files, src, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, mode(v.ConfigMap.DefaultMode))
	case v.Secret != nil:
		err = secret(files, src, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, mode(v.Secret.DefaultMode))
	case v.DownwardAPI != nil:
		err = downward(files, pod, facts, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		err = projected(ctx, files, pod, v, facts, src, now, had)
	default:
		return nil, nil
	}
	return files, err
}

func mode(m *int32) fs.FileMode {
	if m == nil {
		return defaultMode
	}
	return fs.FileMode(*m) & fs.ModePerm
}

func configMap(files Files, src Source, name string, items []v1.KeyToPath, optional *bool, def fs.FileMode) error {
	m, err := src.ConfigMap(name)
	if err != nil {
		return ifOptional(err, optional)
	}
	data := make(map[string][]byte, len(m.Data)+len(m.BinaryData))
	for k, v := range m.Data {
		data[k] = []byte(v)
	}
	for k, v := range m.BinaryData {
		data[k] = v
	}
	return pick(files, "ConfigMap "+m.Namespace+"/"+m.Name, data, items, optional, def)
}

func secret(files Files, src Source, name string, items []v1.KeyToPath, optional *bool, def fs.FileMode) error {
	s, err := src.Secret(name)
	if err != nil {
		return ifOptional(err, optional)
	}
	return pick(files, "Secret "+s.Namespace+"/"+s.Name, s.Data, items, optional, def)
}

func ifOptional(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// pick adds all keys under their own names, or the listed ones where they are wanted.
func pick(files Files, what string, data map[string][]byte, items []v1.KeyToPath, optional *bool, def fs.FileMode) error {
	if len(items) == 0 {
		for k, v := range data {
			files[k] = File{Data: v, Mode: def}
		}
		return nil
	}
	for _, i := range items {
		v, ok := data[i.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("%s references non-existent key: %s; add the key, or mark the volume optional", what, i.Key)
		}
		m := def
		if i.Mode != nil {
			m = mode(i.Mode)
		}
		files[i.Path] = File{Data: v, Mode: m}
	}
	return nil
}

func downward(files Files, pod *v1.Pod, facts env.Facts, items []v1.DownwardAPIVolumeFile, def fs.FileMode) error {
	for _, i := range items {
		var value string
		var err error
		switch {
		case i.FieldRef != nil:
			value, err = env.Field(pod, facts, i.FieldRef.FieldPath)
		case i.ResourceFieldRef != nil:
			value, err = env.Resource(pod, facts, nil, i.ResourceFieldRef)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", i.Path, err)
		}
		m := def
		if i.Mode != nil {
			m = mode(i.Mode)
		}
		files[i.Path] = File{Data: []byte(value), Mode: m}
	}
	return nil
}
