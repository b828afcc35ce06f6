package image

import (
	"context"
	"errors"
	"fmt"
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
	Client *client.Client
	Mirror *url.URL // tried first for every image, over the scheme it names; nil for none
}

// Pull tries each credential in turn, and anonymously if there is none.
func (r Registry) Pull(ctx context.Context, ref string, creds []Credential) (images.Image, error) {
	if len(creds) == 0 {
		creds = []Credential{{}}
	}
	var all error
	for _, c := range creds {
		img, err := r.pull(ctx, ref, c)
		if err == nil {
			return img, nil
		}
		all = errors.Join(all, err)
	}
	return images.Image{}, all
}

func (r Registry) pull(ctx context.Context, ref string, c Credential) (images.Image, error) {
	img, err := r.Client.Pull(ctx, ref,
		client.WithPullUnpack, client.WithPullSnapshotter(Snapshotter), client.WithPullLabel(pulledLabel, "true"),
		client.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: r.hosts(c)})))
	if err != nil {
		return images.Image{}, err
	}
	return img.Metadata(), nil
}

// hosts says where to ask for images of a registry: the mirror, then the registry itself. Registries on this machine may speak plain HTTP.
func (r Registry) hosts(c Credential) docker.RegistryHosts {
	auth := docker.NewDockerAuthorizer(docker.WithAuthClient(httpClient), docker.WithAuthCreds(func(string) (string, string, error) {
		return c.User, c.Password, nil
	}))
	own := docker.ConfigureDefaultRegistries(docker.WithAuthorizer(auth), docker.WithClient(httpClient), docker.WithPlainHTTP(docker.MatchLocalhost))
	if r.Mirror == nil {
		return own
	}
	mirror := docker.RegistryHost{
		Client: httpClient, Host: r.Mirror.Host, Scheme: r.Mirror.Scheme, Path: strings.TrimSuffix(r.Mirror.Path, "/") + "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}
	return func(host string) ([]docker.RegistryHost, error) {
		hosts, err := own(host)
		return append([]docker.RegistryHost{mirror}, hosts...), err
	}
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
