package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// Registry pulls from the registries that references name, trying Mirror first.
type Registry struct {
	Client   *client.Client
	Mirror   *url.URL // tried first for every image, over the scheme it names; nil for none
	HostsDir string   // folder with a folder for each registry, whose hosts.toml names its mirrors; empty for none
}

// Pull tries the mirror, then the registry itself with each credential in turn, or anonymously if there is none.
func (r Registry) Pull(ctx context.Context, ref string, creds []Credential, tell func(Progress)) (images.Image, error) {
	began := time.Now()
	if r.Mirror != nil {
		img, err := r.pull(ctx, ref, r.mirrorHost, began, tell)
		if err == nil {
			return img, nil
		}
		slog.Debug("the mirror does not have an image", "mirror", r.Mirror.String(), "image", ref, "err", err)
	}
	if len(creds) == 0 {
		creds = []Credential{{}}
	}
	var all error
	for _, c := range creds {
		hosts, err := r.hosts(ctx, ref, c)
		if err != nil {
			return images.Image{}, err
		}
		img, err := r.pull(ctx, ref, hosts, began, tell)
		if err == nil {
			return img, nil
		}
		all = errors.Join(all, err)
	}
	return images.Image{}, all
}

func (r Registry) pull(ctx context.Context, ref string, hosts docker.RegistryHosts, began time.Time, tell func(Progress)) (images.Image, error) {
	var found parts
	watched, stop := context.WithCancel(ctx)
	defer stop()
	go found.tell(watched, r.Client, began, tell)
	img, err := r.Client.Pull(ctx, ref,
		client.WithPullUnpack, client.WithPullSnapshotter(Snapshotter), client.WithPullLabel(pulledLabel, "true"),
		client.WithImageHandler(&found), client.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})))
	if err != nil {
		return images.Image{}, err
	}
	return img.Metadata(), nil
}

// mirrorHost is asked for the images of every registry. The registry's own credentials are not for it.
func (r Registry) mirrorHost(string) ([]docker.RegistryHost, error) {
	return []docker.RegistryHost{{
		Client: httpClient, Host: r.Mirror.Host, Scheme: r.Mirror.Scheme, Path: strings.TrimSuffix(r.Mirror.Path, "/") + "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}}, nil
}

// httpClient bounds each phase of talking to a registry but not the transfer itself: layers may be large.
var httpClient = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	TLSHandshakeTimeout:   10 * time.Second,
	ResponseHeaderTimeout: 30 * time.Second,
	IdleConnTimeout:       30 * time.Second,
	MaxIdleConnsPerHost:   4,
}}

// ParseMirror reads the address of a mirror as given on the command line.
func ParseMirror(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("mirror %q: must be http://host:port or https://host:port", s)
	}
	return u, nil
}
