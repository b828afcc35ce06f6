package volume

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
)

// Source gives what volumes are made from. A missing object is a NotFound error of the API.
type Source interface {
	env.Sources
	// Token gets a token for the Pod's service account that is bound to the Pod.
	Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, error)
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
		def := mode(v.Projected.DefaultMode)
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			switch {
			case s.ConfigMap != nil:
				err = configMap(files, src, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, def)
			case s.Secret != nil:
				err = secret(files, src, s.Secret.Name, s.Secret.Items, s.Secret.Optional, def)
			case s.DownwardAPI != nil:
				err = downward(files, pod, facts, s.DownwardAPI.Items, def)
			case s.ServiceAccountToken != nil:
				err = token(ctx, files, pod, src, s.ServiceAccountToken, def, now, had)
			default:
				err = fmt.Errorf("projected source %d is of a kind that this node does not provide", i)
			}
			if err != nil {
				break
			}
		}
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

// token adds a service account token. It is readable for its Pod's user only, where that is known to be one and the same for all containers.
func token(ctx context.Context, files Files, pod *v1.Pod, src Source, p *v1.ServiceAccountTokenProjection, def fs.FileMode, now time.Time, had func(string) []byte) error {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	f := File{Data: had(p.Path), Mode: def}
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		f.Mode = tokenMode // the group is let in by setGroup
	} else if uid, ok := onlyUser(pod); ok {
		f.Mode, f.UID = tokenMode, int(uid)
	}
	if len(f.Data) == 0 || !fresh(f.Data, now) {
		t, err := src.Token(ctx, pod, p.Audience, seconds)
		if err != nil {
			// A token that is old but valid is better than none: the API may be away.
			if len(f.Data) == 0 {
				return err
			}
		} else {
			f.Data = []byte(t)
		}
	}
	files[p.Path] = f
	return nil
}

// fresh says whether a token has a fifth of its life left, and was issued less than a day ago: the rule for projected tokens (KEP-1205).
func fresh(jwt []byte, now time.Time) bool {
	parts := strings.Split(string(jwt), ".")
	if len(parts) != 3 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var c struct{ Iat, Exp int64 }
	if json.Unmarshal(raw, &c) != nil || c.Exp <= c.Iat {
		return false
	}
	issued := time.Unix(c.Iat, 0)
	return now.Before(issued.Add(time.Duration(c.Exp-c.Iat)*time.Second*4/5)) && now.Sub(issued) < 24*time.Hour
}

// onlyUser finds the user that all containers of a Pod run as, if the Pod says so.
func onlyUser(pod *v1.Pod) (int64, bool) {
	var uid *int64
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			u := (*int64)(nil)
			if pod.Spec.SecurityContext != nil {
				u = pod.Spec.SecurityContext.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || uid != nil && *u != *uid {
				return 0, false
			}
			uid = u
		}
	}
	if uid == nil {
		return 0, false
	}
	return *uid, true
}
