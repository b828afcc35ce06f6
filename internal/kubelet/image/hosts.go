package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// hosts finds where a registry's images are asked for: at the mirrors that the folder of hosts files names for it (containerd's hosts.toml), else at the registry itself.
// The credential is for the registry, and for no mirror.
func (r Registry) hosts(ctx context.Context, ref string, c Credential) (docker.RegistryHosts, error) {
	auth := func(host string) (string, string, error) {
		if own := Domain(ref); host != own && !(own == "docker.io" && host == "registry-1.docker.io") {
			return "", "", nil
		}
		return c.User, c.Password, nil
	}
	dir, err := r.hostDir(Domain(ref))
	if err != nil {
		return nil, err
	}
	if dir == "" {
		a := docker.NewDockerAuthorizer(docker.WithAuthClient(httpClient), docker.WithAuthCreds(auth))
		// Registries on this machine may speak plain HTTP.
		return docker.ConfigureDefaultRegistries(docker.WithAuthorizer(a), docker.WithClient(httpClient), docker.WithPlainHTTP(docker.MatchLocalhost)), nil
	}
	if err := readable(filepath.Join(dir, "hosts.toml")); err != nil {
		return nil, err
	}
	found := config.ConfigureHosts(ctx, config.HostOptions{
		HostDir:     func(string) (string, error) { return dir, nil },
		Credentials: auth,
		UpdateClient: func(client *http.Client) error {
			if t, ok := client.Transport.(*http.Transport); ok {
				own := httpClient.Transport.(*http.Transport)
				t.DialContext, t.ResponseHeaderTimeout, t.IdleConnTimeout = own.DialContext, own.ResponseHeaderTimeout, own.IdleConnTimeout
			}
			return nil
		},
	})
	return found, nil
}

// readable refuses a hosts file that is broken, which containerd's reader passes over: images must not come from elsewhere than the operator says.
func readable(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the folder has certificates only
	}
	if err != nil {
		return err
	}
	err = toml.Unmarshal(b, &map[string]any{})
	if de := (*toml.DecodeError)(nil); errors.As(err, &de) {
		line, _ := de.Position()
		return fmt.Errorf("%s:%d: %w", file, line, err)
	}
	return err
}

// hostDir is the folder that says where the images of a registry are; empty if none does.
func (r Registry) hostDir(domain string) (string, error) {
	if r.HostsDir == "" {
		return "", nil
	}
	dir, err := config.HostDirFromRoot(r.HostsDir)(domain)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for %s in %s: %w", domain, r.HostsDir, err)
	}
	return dir, nil
}
