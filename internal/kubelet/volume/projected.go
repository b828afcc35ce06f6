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

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/podcert"
)

// projected adds what each source of a projected volume gives. Of two sources that give a file of one name the later one wins.
func projected(ctx context.Context, files Files, pod *v1.Pod, v *v1.Volume, facts env.Facts, src Source, now time.Time, had func(string) []byte) error {
	def := mode(v.Projected.DefaultMode)
	for i := range v.Projected.Sources {
		var err error
		switch s := &v.Projected.Sources[i]; {
		case s.ConfigMap != nil:
			err = configMap(files, src, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, def)
		case s.Secret != nil:
			err = secret(files, src, s.Secret.Name, s.Secret.Items, s.Secret.Optional, def)
		case s.DownwardAPI != nil:
			err = downward(files, pod, facts, s.DownwardAPI.Items, def)
		case s.ServiceAccountToken != nil:
			err = token(ctx, files, pod, src, s.ServiceAccountToken, def, now, had)
		case s.ClusterTrustBundle != nil:
			err = trustAnchors(ctx, files, pod, src, s.ClusterTrustBundle, def)
		case s.PodCertificate != nil:
			err = certificate(ctx, files, src, podcert.Source{Pod: pod, Volume: v.Name, Index: i, PodCertificateProjection: s.PodCertificate}, def, had)
		default:
			err = fmt.Errorf("projected source %d is of a kind that this node does not provide", i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// private makes a file that is readable for its Pod's user only, where that is known to be one and the same for all containers.
func private(pod *v1.Pod, data []byte, def fs.FileMode) File {
	f := File{Data: data, Mode: def}
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		f.Mode = tokenMode // the group is let in by setGroup
	} else if uid, ok := onlyUser(pod); ok {
		f.Mode, f.UID = tokenMode, int(uid)
	}
	return f
}

// trustAnchors adds the certificates of the ClusterTrustBundles selected; an empty file when there may be none.
func trustAnchors(ctx context.Context, files Files, pod *v1.Pod, src Source, p *v1.ClusterTrustBundleProjection, def fs.FileMode) error {
	anchors, err := src.TrustAnchors(ctx, p)
	if err != nil {
		return err
	}
	files[p.Path] = private(pod, anchors, def)
	return nil
}

// certificate adds a key and its certificates, in one file or two.
func certificate(ctx context.Context, files Files, src Source, s podcert.Source, def fs.FileMode, had func(string) []byte) error {
	now := podcert.Credential{}
	switch {
	case s.CredentialBundlePath != "":
		now = podcert.Split(had(s.CredentialBundlePath))
	case s.KeyPath != "" && s.CertificateChainPath != "":
		now = podcert.Credential{Key: had(s.KeyPath), Chain: had(s.CertificateChainPath)}
	}
	c, err := src.Credential(ctx, s, now)
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{s.CredentialBundlePath: c.Bundle(), s.KeyPath: c.Key, s.CertificateChainPath: c.Chain} {
		if path != "" {
			files[path] = private(s.Pod, data, def)
		}
	}
	return nil
}

// token adds a service account token.
func token(ctx context.Context, files Files, pod *v1.Pod, src Source, p *v1.ServiceAccountTokenProjection, def fs.FileMode, now time.Time, had func(string) []byte) error {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	f := private(pod, had(p.Path), def)
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
