package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1"
	"k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	"sigs.k8s.io/yaml"
)

// Providers ask programs of the node for credentials: the kubelet's credential provider plugins (KEP-2133), with its configuration and protocol.
type Providers struct {
	dir  string // of the programs
	list []kubeletconfig.CredentialProvider

	flight singleflight.Group
	mu     sync.Mutex
	cache  map[string]answer
}

type answer struct {
	ring  Keyring
	until time.Time
}

const providerGroup = "credentialprovider.kubelet.k8s.io/"

// providerTimeout bounds a program's run; the kubelet's too.
const providerTimeout = time.Minute

// LoadProviders reads a CredentialProviderConfig. An empty file name means none.
func LoadProviders(file, dir string) (*Providers, error) {
	if file == "" {
		if dir != "" {
			return nil, errors.New("--image-credential-provider-bin-dir: needs --image-credential-provider-config, the file that says which of its programs are for which images")
		}
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--image-credential-provider-config: %w", err)
	}
	var c kubeletconfig.CredentialProviderConfig
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return nil, fmt.Errorf("--image-credential-provider-config %s: %w", file, err)
	}
	if c.Kind != "CredentialProviderConfig" || !strings.HasPrefix(c.APIVersion, "kubelet.config.k8s.io/") {
		return nil, fmt.Errorf("--image-credential-provider-config %s: is kind %q of apiVersion %q; it must be a CredentialProviderConfig of kubelet.config.k8s.io/v1", file, c.Kind, c.APIVersion)
	}
	for i := range c.Providers {
		if err := checkProvider(dir, &c.Providers[i]); err != nil {
			return nil, fmt.Errorf("--image-credential-provider-config %s: providers[%d]: %w", file, i, err)
		}
	}
	return &Providers{dir: dir, list: c.Providers, cache: map[string]answer{}}, nil
}

func checkProvider(dir string, p *kubeletconfig.CredentialProvider) error {
	switch {
	case p.Name == "" || filepath.Base(p.Name) != p.Name || p.Name == "..":
		return fmt.Errorf("name: must be the name of a program in %s, got %q", dir, p.Name)
	case !strings.HasPrefix(p.APIVersion, providerGroup+"v1"):
		return fmt.Errorf("apiVersion: must be %sv1, got %q", providerGroup, p.APIVersion)
	case len(p.MatchImages) == 0:
		return errors.New("matchImages: names no images")
	}
	if err := checkAttributes(p); err != nil {
		return err
	}
	if _, err := exec.LookPath(filepath.Join(dir, p.Name)); err != nil {
		return fmt.Errorf("name: %w; put the program there, or give another --image-credential-provider-bin-dir", err)
	}
	return nil
}

// For gives the credentials for an image from all plugins that are for it. who is the ServiceAccount that wants it; nil for none. What some could not say is in the error, beside what others did.
func (p *Providers) For(ctx context.Context, ref string, who *Account) (Keyring, error) {
	if p == nil {
		return nil, nil
	}
	var ring Keyring
	var all error
	for i := range p.list {
		plugin := &p.list[i]
		for _, m := range plugin.MatchImages {
			if !matches(strip(m), repository(ref)) {
				continue
			}
			got, err := p.ask(ctx, plugin, ref, who)
			if errors.Is(err, errNotFor) {
				break
			}
			if err != nil {
				slog.Warn("a credential provider plugin failed; the image is pulled without it", "plugin", plugin.Name, "image", ref, "err", err)
				all = errors.Join(all, fmt.Errorf("credential provider plugin %s: %w", plugin.Name, err))
			}
			ring = append(ring, got...)
			break
		}
	}
	return ring, all
}

// ask gives what a plugin says, or said not long ago.
func (p *Providers) ask(ctx context.Context, plugin *kubeletconfig.CredentialProvider, ref string, who *Account) (Keyring, error) {
	id, err := introduce(plugin.TokenAttributes, who)
	if err != nil {
		return nil, err
	}
	of := plugin.Name + "\n" + id.key + "\n"
	p.mu.Lock()
	for _, key := range []string{ref, Domain(ref), ""} {
		if a, ok := p.cache[of+key]; ok && time.Now().Before(a.until) {
			p.mu.Unlock()
			return a.ring, nil
		}
	}
	p.mu.Unlock()
	v, err, _ := p.flight.Do(of+ref, func() (any, error) {
		token, err := id.token()
		if err != nil {
			return nil, err
		}
		// Plugins are told the repository, without tag and digest, as kubelets tell them.
		res, err := run(context.WithoutCancel(ctx), filepath.Join(p.dir, plugin.Name), plugin, v1.CredentialProviderRequest{
			TypeMeta: metav1.TypeMeta{Kind: "CredentialProviderRequest", APIVersion: plugin.APIVersion}, Image: repository(ref),
			ServiceAccountToken: token, ServiceAccountAnnotations: id.annotations,
		})
		if err != nil {
			return nil, err
		}
		var ring Keyring
		for match, a := range res.Auth {
			ring = append(ring, entry{strip(match), Credential{a.Username, a.Password}})
		}
		p.keep(plugin, of, ref, res, ring)
		return ring, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(Keyring), nil
}

// keep remembers an answer for as long and as widely as it says.
func (p *Providers) keep(plugin *kubeletconfig.CredentialProvider, of, ref string, res *v1.CredentialProviderResponse, ring Keyring) {
	lasts := time.Duration(0)
	if plugin.DefaultCacheDuration != nil {
		lasts = plugin.DefaultCacheDuration.Duration
	}
	if res.CacheDuration != nil {
		lasts = res.CacheDuration.Duration
	}
	if lasts <= 0 {
		return
	}
	key := map[v1.PluginCacheKeyType]string{v1.ImagePluginCacheKeyType: ref, v1.RegistryPluginCacheKeyType: Domain(ref), v1.GlobalPluginCacheKeyType: ""}
	k, ok := key[res.CacheKeyType]
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for old, a := range p.cache {
		if now.After(a.until) {
			delete(p.cache, old)
		}
	}
	p.cache[of+k] = answer{ring, now.Add(lasts)}
}

// run has a program answer one request, over its standard input and output.
func run(ctx context.Context, program string, plugin *kubeletconfig.CredentialProvider, what v1.CredentialProviderRequest) (*v1.CredentialProviderResponse, error) {
	request, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, plugin.Args...)
	cmd.WaitDelay = time.Second // children that hold the pipes open are not waited for
	cmd.Env = os.Environ()
	for _, e := range plugin.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("gave no answer within %s", providerTimeout)
		}
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()[:min(errOut.Len(), 1024)]))
	}
	var res v1.CredentialProviderResponse
	// The decoder's own message may quote the credential.
	if json.Unmarshal(out.Bytes(), &res) != nil || res.Kind != "CredentialProviderResponse" || res.APIVersion != plugin.APIVersion {
		return nil, fmt.Errorf("its answer is no CredentialProviderResponse of %s", plugin.APIVersion)
	}
	return &res, nil
}
