package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Credential is one user name and password; a registry may be tried with several.
type Credential struct{ User, Password string }

// Keyring holds the credentials of a Pod's pull secrets, by registry and optional path prefix.
type Keyring []entry

type entry struct {
	match string // host, or host/path prefix; * stands for any part of one label of the host
	Credential
}

type dockerAuth struct {
	Username, Password, Auth string
}

// ParseKeyring reads Secrets of type kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.
func ParseKeyring(secrets []*v1.Secret) (Keyring, error) {
	var ring Keyring
	for _, s := range secrets {
		auths := map[string]dockerAuth{}
		var err error
		switch s.Type {
		case v1.SecretTypeDockerConfigJson:
			var file struct{ Auths map[string]dockerAuth }
			err = json.Unmarshal(s.Data[v1.DockerConfigJsonKey], &file)
			auths = file.Auths
		case v1.SecretTypeDockercfg:
			err = json.Unmarshal(s.Data[v1.DockerConfigKey], &auths)
		default:
			continue
		}
		if err != nil {
			// The decoder's own message may quote the secret's content.
			return ring, fmt.Errorf("pull secret %s/%s: is no valid Docker configuration; make it with `kubectl create secret docker-registry`", s.Namespace, s.Name)
		}
		for host, a := range auths {
			c := Credential{a.Username, a.Password}
			if a.Auth != "" {
				raw, err := base64.StdEncoding.DecodeString(a.Auth)
				user, password, ok := strings.Cut(string(raw), ":")
				if err != nil || !ok {
					return ring, fmt.Errorf("pull secret %s/%s: the auth of %q must be the base64 form of user:password", s.Namespace, s.Name, host)
				}
				c = Credential{user, strings.TrimRight(password, "\x00")}
			}
			ring = append(ring, entry{strip(host), c})
		}
	}
	return ring, nil
}

// strip reduces the forms found in Docker configurations, such as https://index.docker.io/v1/, to host[/path].
func strip(host string) string {
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(host, "/"), "/v1"), "/v2")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return "docker.io"
	}
	return host
}

// For gives the credentials to try for a normalized reference, the most specific first; none means anonymous.
func (k Keyring) For(ref string) []Credential {
	repo := repository(ref)
	var out []Credential
	longest := []int{}
	for _, e := range k {
		if !matches(e.match, repo) {
			continue
		}
		i := 0
		for i < len(out) && longest[i] >= len(e.match) {
			i++
		}
		out = append(out[:i], append([]Credential{e.Credential}, out[i:]...)...)
		longest = append(longest[:i], append([]int{len(e.match)}, longest[i:]...)...)
	}
	return out
}

func matches(pattern, repo string) bool {
	ph, pp, _ := strings.Cut(pattern, "/")
	rh, rp, _ := strings.Cut(repo, "/")
	if pp != "" && rp != pp && !strings.HasPrefix(rp, pp+"/") {
		return false
	}
	pl, rl := strings.Split(ph, "."), strings.Split(rh, ".")
	if len(pl) != len(rl) {
		return false
	}
	for i := range pl {
		if ok, err := path.Match(pl[i], rl[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
