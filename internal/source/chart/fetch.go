package chart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Bounds on what a chart's repository may send.
const (
	maxIndex   = 64 << 20
	maxArchive = 64 << 20
	// fetchTimeout bounds one fetch, the index of the repository included.
	fetchTimeout = 2 * time.Minute
	// rangeLife is how long it is believed which version is the newest of a range.
	rangeLife = time.Minute
	// maxKept bounds the charts that are kept in memory.
	maxKept = 32
)

// Reference names a chart in a repository.
type Reference struct {
	// Repository is the URL of a Helm repository (https), or the prefix of repositories in an OCI registry (oci).
	Repository string
	Name       string
	// Version is a version, a range of versions, or for OCI a digest.
	Version     string
	Credentials source.Credentials
	// NotBefore is when an answer about a range is too old; zero for none that is younger than a minute.
	NotBefore time.Time
}

func (r Reference) String() string {
	return fmt.Sprintf("chart %s %s of %s", r.Name, r.Version, source.Redact(r.Repository))
}

// Fetched is a chart as its repository has it.
type Fetched struct {
	// Files are the chart's, below a folder that is named after it and its version.
	Files []source.File
	Root  string
	// Version is the one that it has in the repository; of a digest the beginning.
	Version string
	// Exact says that the reference can mean nothing else.
	Exact bool
}

// Fetcher fetches charts, and keeps some of them. The zero value is ready; it is safe for concurrent use.
type Fetcher struct {
	running singleflight.Group

	mu   sync.Mutex
	kept map[identity]kept
}

// identity is by which a chart is kept: who may read it is part of that, and whether somebody on the way may have changed it.
type identity struct {
	repository, name, version, secret string
	insecure                          bool
}

type kept struct {
	chart Fetched
	at    time.Time
}

// Fetch returns a chart. The error is a *source.Error.
func (f *Fetcher) Fetch(ctx context.Context, r Reference) (Fetched, error) {
	key := identity{r.Repository, r.Name, r.Version, r.Credentials.Secret, r.Credentials.Insecure}
	f.mu.Lock()
	k, ok := f.kept[key]
	f.mu.Unlock()
	if ok && (k.chart.Exact || time.Since(k.at) < rangeLife && !k.at.Before(r.NotBefore)) {
		return k.chart, nil
	}
	// Applications that want the same chart at the same time share one fetch, which none of them can cancel for the others.
	var v any
	var err error
	reconcile.Await(ctx, func(ctx context.Context) {
		v, err, _ = f.running.Do(fmt.Sprintf("%#v", key), func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
			defer cancel()
			c, err := fetch(ctx, r)
			if err == nil {
				f.keep(key, c)
			}
			return c, err
		})
	})
	if err != nil {
		return Fetched{}, err
	}
	return v.(Fetched), nil // it is what the function above returns
}

func (f *Fetcher) keep(key identity, c Fetched) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil {
		f.kept = map[identity]kept{}
	}
	for k := range f.kept {
		if len(f.kept) >= maxKept {
			delete(f.kept, k) // any one will do: it is fetched again
		}
	}
	f.kept[key] = kept{c, time.Now()}
}

func fetch(ctx context.Context, r Reference) (Fetched, error) {
	get := fromRepository
	if strings.HasPrefix(r.Repository, "oci://") {
		get = fromRegistry
	}
	data, version, err := get(ctx, r)
	if err != nil {
		return Fetched{}, explainFetch(r, err)
	}
	c, err := unpack(r, version, data)
	c.Version, c.Exact = version, version == r.Version || strings.HasPrefix(r.Version, "sha256:")
	return c, err
}

// explainFetch gives an error of a library our form.
func explainFetch(r Reference, err error) error {
	var e *source.Error
	if errors.As(err, &e) {
		return &source.Error{Reason: e.Reason, Message: r.String() + ": " + e.Message, Err: e.Err, RetryAfter: e.RetryAfter}
	}
	reason := source.Unreachable
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return &source.Error{Reason: reason, Message: fmt.Sprintf("%s: the host name %q cannot be resolved; check the URL and the DNS of this machine", r, dns.Name)}
	}
	var te *transport.Error
	if errors.As(err, &te) {
		switch te.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			reason = source.Unauthorized
		case http.StatusNotFound:
			reason = source.NotFound
		}
	}
	return &source.Error{Reason: reason, Message: r.String(), Err: errors.New(source.Redact(err.Error()))}
}

// unpack reads the archive; the library bounds what it may grow to.
func unpack(r Reference, version string, data []byte) (Fetched, error) {
	files, err := archive.LoadArchiveFiles(bytes.NewReader(data))
	if err != nil {
		return Fetched{}, &source.Error{Reason: source.InvalidManifest, Message: fmt.Sprintf("%s cannot be unpacked", r), Err: err}
	}
	c := Fetched{Root: fmt.Sprintf("%s-%s.tgz", r.Name, version)}
	for _, f := range files {
		c.Files = append(c.Files, source.File{Path: path.Join(c.Root, f.Name), Data: f.Data})
	}
	slices.SortFunc(c.Files, func(a, b source.File) int { return strings.Compare(a.Path, b.Path) })
	return c, nil
}

// newest chooses the highest version in a range, or just the one that is named.
func newest(r Reference, versions []string) (string, error) {
	if slices.Contains(versions, r.Version) {
		return r.Version, nil
	}
	within, err := semver.NewConstraint(r.Version)
	if err != nil {
		return "", &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("%q is neither a version nor a range of versions", r.Version)}
	}
	best, text := (*semver.Version)(nil), ""
	for _, s := range versions {
		if v, err := semver.NewVersion(s); err == nil && within.Check(v) && (best == nil || v.GreaterThan(best)) {
			best, text = v, s
		}
	}
	if best == nil {
		slices.Sort(versions)
		if len(versions) > 10 {
			versions = append(versions[len(versions)-10:], "…")
		}
		return "", &source.Error{Reason: source.NotFound, Message: "there is no such version; there are " + strings.Join(versions, ", ")}
	}
	return text, nil
}

// fromRepository fetches from a Helm repository: its index, then the archive that the index names.
// https://helm.sh/docs/topics/chart_repository/
func fromRepository(ctx context.Context, r Reference) (data []byte, version string, err error) {
	base, err := url.Parse(strings.TrimSuffix(r.Repository, "/") + "/")
	if err != nil || base.Scheme != "https" && base.Scheme != "http" {
		return nil, "", &source.Error{Reason: source.InvalidSource, Message: "the repository's URL must begin with https:// or oci://"}
	}
	raw, err := download(ctx, r, base.JoinPath("index.yaml"), base, maxIndex)
	if err != nil {
		return nil, "", err
	}
	var index struct {
		Entries map[string][]struct {
			Version string   `json:"version"`
			URLs    []string `json:"urls"`
			Digest  string   `json:"digest"`
		} `json:"entries"`
	}
	if err := yaml.Unmarshal(raw, &index); err != nil {
		return nil, "", &source.Error{Reason: source.Unreachable, Message: "its index.yaml cannot be read"}
	}
	var versions []string
	for _, e := range index.Entries[r.Name] {
		versions = append(versions, e.Version)
	}
	if len(versions) == 0 {
		return nil, "", &source.Error{Reason: source.NotFound, Message: "the repository has no chart of this name"}
	}
	if version, err = newest(r, versions); err != nil {
		return nil, "", err
	}
	for _, e := range index.Entries[r.Name] {
		if e.Version != version || len(e.URLs) == 0 {
			continue
		}
		at, err := base.Parse(e.URLs[0])
		if err != nil || at.Scheme != "https" && at.Scheme != "http" {
			return nil, "", &source.Error{Reason: source.Unreachable, Message: "its index.yaml names an archive that is at no http URL"}
		}
		if at.Scheme == "http" && base.Scheme == "https" && e.Digest == "" {
			return nil, "", fmt.Errorf("%s: its index.yaml has no digest for it, and %w", source.Redact(at.String()), errPlain)
		}
		if data, err = download(ctx, r, at, base, maxArchive); err != nil {
			return nil, "", err
		}
		if sum := sha256.Sum256(data); e.Digest != "" && !strings.EqualFold(strings.TrimPrefix(e.Digest, "sha256:"), hex.EncodeToString(sum[:])) {
			return nil, "", &source.Error{Reason: source.Unverified, Message: "the archive is not the one whose digest is in index.yaml"}
		}
		return data, version, nil
	}
	return nil, "", &source.Error{Reason: source.Unreachable, Message: "its index.yaml names no archive for it"}
}

// download gets a file. Credentials go to the repository's own host only, not to where an index points.
func download(ctx context.Context, r Reference, at, base *url.URL, limit int64) ([]byte, error) {
	client, err := source.HTTPClient(r.Credentials)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	if at.Scheme == "https" {
		client.Transport = encrypted{client.Transport}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if at.Scheme == base.Scheme && at.Host == base.Host {
		switch c := r.Credentials; {
		case c.BearerToken != "":
			req.Header.Set("Authorization", "Bearer "+c.BearerToken)
		case c.Username != "" || c.Password != "":
			req.SetBasicAuth(c.Username, c.Password)
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	fail := func(reason source.Reason, format string, args ...any) error {
		return &source.Error{Reason: reason, Message: source.Redact(at.String()) + ": " + fmt.Sprintf(format, args...)}
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return nil, fail(source.Unauthorized, "the server answered %s; check the Secret of secretRef", res.Status)
	case res.StatusCode == http.StatusNotFound:
		return nil, fail(source.NotFound, "the server answered %s", res.Status)
	case res.StatusCode != http.StatusOK:
		return nil, fail(source.Unreachable, "the server answered %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fail(source.InvalidManifest, "it is larger than %d MiB", limit>>20)
	}
	return data, nil
}

// encrypted refuses plain HTTP where nobody asked for it: whoever is on the way could read the credentials, and choose what is applied.
type encrypted struct{ next http.RoundTripper }

// errPlain is why.
var errPlain = errors.New("plain HTTP is refused, which anybody on the way can read and change; have the server speak TLS (caFile of the Secret names a CA of your own), or, if it is an OCI registry, write `insecure: true` beside its url")

func (e encrypted) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		return e.next.RoundTrip(req)
	}
	if req.Body != nil {
		_ = req.Body.Close() // as a RoundTripper must
	}
	return nil, errPlain
}

// layerType is that of a chart's archive in an OCI registry; https://helm.sh/docs/topics/registries/
const layerType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// fromRegistry fetches from an OCI registry.
func fromRegistry(ctx context.Context, r Reference) (data []byte, version string, err error) {
	client, err := source.HTTPClient(r.Credentials)
	if err != nil {
		return nil, "", err
	}
	defer client.CloseIdleConnections()
	auth := authn.Anonymous
	switch c := r.Credentials; {
	case c.BearerToken != "":
		auth = &authn.Bearer{Token: c.BearerToken}
	case c.Username != "" || c.Password != "":
		auth = &authn.Basic{Username: c.Username, Password: c.Password}
	}
	// Of a registry at a private address, or one that redirects, the library would use plain HTTP without being asked to.
	transport, naming := http.RoundTripper(encrypted{client.Transport}), []name.Option(nil)
	if r.Credentials.Insecure {
		transport, naming = client.Transport, []name.Option{name.Insecure}
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(auth), remote.WithTransport(transport)}
	repo, err := name.NewRepository(strings.TrimSuffix(strings.TrimPrefix(r.Repository, "oci://"), "/")+"/"+r.Name, naming...)
	if err != nil {
		return nil, "", &source.Error{Reason: source.InvalidSource, Message: "it is no name of a repository in a registry"}
	}
	var ref name.Reference
	if strings.HasPrefix(r.Version, "sha256:") {
		if ref, err = name.NewDigest(repo.Name()+"@"+r.Version, naming...); err != nil {
			return nil, "", &source.Error{Reason: source.InvalidSource, Message: "the version is no digest of 64 hexadecimal digits"}
		}
		version = r.Version[len("sha256:"):][:12]
	} else {
		version = r.Version
		if _, err := semver.StrictNewVersion(r.Version); err != nil {
			tags, err := remote.List(repo, options...)
			if err != nil {
				return nil, "", err
			}
			for i := range tags {
				tags[i] = strings.ReplaceAll(tags[i], "_", "+") // a tag cannot hold the plus sign of a version
			}
			if version, err = newest(r, tags); err != nil {
				return nil, "", err
			}
		}
		ref = repo.Tag(strings.ReplaceAll(version, "+", "_"))
	}
	image, err := remote.Image(ref, options...)
	if err != nil {
		return nil, "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, "", err
	}
	for _, l := range layers {
		if kind, err := l.MediaType(); err != nil || kind != layerType {
			continue
		}
		rd, err := l.Compressed() // its digest is checked as it is read
		if err != nil {
			return nil, "", err
		}
		data, err := io.ReadAll(io.LimitReader(rd, maxArchive+1))
		if cerr := rd.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, "", err
		}
		if len(data) > maxArchive {
			return nil, "", &source.Error{Reason: source.InvalidManifest, Message: fmt.Sprintf("it is larger than %d MiB", maxArchive>>20)}
		}
		return data, version, nil
	}
	return nil, "", &source.Error{Reason: source.InvalidManifest, Message: "what is there is no Helm chart"}
}
