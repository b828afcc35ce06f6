package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/singleflight"
	v1 "k8s.io/api/core/v1"
)

// Snapshotter holds the images' and containers' file systems.
const Snapshotter = "overlayfs"

// Image is an image that is unpacked and ready for containers.
type Image struct {
	Ref    string // normalized reference
	Digest string // of the manifest or index that the reference stands for
	ID     string // what containerStatuses report: repository@digest if it came from a registry, else the configuration's digest
	Chain  string // snapshot that a container's own is prepared from
	Size   int64
	Config ocispec.ImageConfig

	users usersOnce
}

// Store is the node's images.
type Store struct {
	client *client.Client
	pull   Pulling
	slots  chan struct{} // nil for no limit
	dir    string        // for messages: where the daemon keeps its data

	mu    sync.Mutex
	byRef map[string]*Image
	// forgotten counts how often an image was removed from byRef: what was looked up before is not put into it after.
	forgotten map[string]int
	flight    singleflight.Group
	imported  chan struct{} // closed when the archives found at start are in
	arrived   func()
}

// Puller fetches an image into the content store and unpacks it.
type Puller interface {
	// Pull tells of its progress as long as it takes.
	Pull(ctx context.Context, ref string, creds []Credential, tell func(Progress)) (images.Image, error)
}

// Pulling is what concerns getting images from registries.
type Pulling struct {
	Puller
	Providers   *Providers // nil for none
	MaxParallel int        // pulls at the same time; 0 for as many as there are
}

// New makes a Store; dir is only named in messages.
func New(c *client.Client, p Pulling, dir string) *Store {
	s := &Store{client: c, pull: p, dir: dir, byRef: map[string]*Image{}, forgotten: map[string]int{}, imported: make(chan struct{}), arrived: func() {}}
	if p.MaxParallel > 0 {
		s.slots = make(chan struct{}, p.MaxParallel)
	}
	return s
}

// OnArrival has f called whenever an archive brought images; whoever waits for one need not wait longer.
func (s *Store) OnArrival(f func()) { s.arrived = f }

// Result says how Ensure got an image.
type Result struct {
	Image  *Image
	Pulled bool // false: it was present
	Took   time.Duration
	Waited time.Duration // part of Took that it waited for its turn
}

// Ensure makes the image of a container present as its pull policy asks. pulling is called once it is clear that a registry must be asked, and
// gives the credentials for it; who is the ServiceAccount that wants it, nil for none; tell is told now and then how far that has come. Every error is an *Error, but for the context's own.
func (s *Store) Ensure(ctx context.Context, ref string, policy v1.PullPolicy, who *Account, pulling func() (Keyring, error), tell func(Progress)) (Result, error) {
	full, err := Normalize(ref)
	if err != nil {
		return Result{}, err
	}
	if policy != v1.PullAlways {
		img, err := s.present(ctx, full)
		if err != nil || img != nil {
			return Result{Image: img}, err
		}
	}
	if policy == v1.PullNever {
		return Result{}, &Error{Reason: "ErrImageNeverPull", Err: fmt.Errorf(
			"container image %q is not present with pull policy of Never; load it (an archive in the node's images directory) or let the policy pull it", ref)}
	}
	ring, err := pulling()
	if err != nil {
		return Result{}, &Error{Reason: "ErrImagePull", Err: err}
	}
	more, providerErr := s.pull.Providers.For(ctx, full, who)
	began := time.Now()
	img, waited, err := s.Pull(ctx, full, append(ring.For(full), more.For(full)...), tell)
	if ie := (*Error)(nil); errors.As(err, &ie) && providerErr != nil {
		err = &Error{Reason: ie.Reason, Err: fmt.Errorf("%w; %w", ie.Err, providerErr)}
	}
	return Result{Image: img, Pulled: true, Took: time.Since(began), Waited: waited}, err
}

// present finds an image that is on the node, waiting for the archives that are still being read at start.
func (s *Store) present(ctx context.Context, full string) (*Image, error) {
	if img, err := s.Get(ctx, full); img != nil || err != nil {
		return img, err
	}
	select {
	case <-s.imported:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Get(ctx, full)
}

// Get finds a present image by its normalized reference, unpacking it if need be; nil if there is none.
func (s *Store) Get(ctx context.Context, full string) (*Image, error) {
	s.mu.Lock()
	img := s.byRef[full]
	s.mu.Unlock()
	if img != nil {
		return img, nil
	}
	rec, err := s.client.ImageService().Get(ctx, full)
	switch {
	case errdefs.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, &Error{Reason: "ErrImagePull", Err: fmt.Errorf("looking for image %q: %w", full, err)}
	}
	return s.load(ctx, rec)
}

// Pull fetches and unpacks, and says how long it waited for its turn. Pulls of one reference with the same credentials at the same time are one, which tells its first caller of its progress.
func (s *Store) Pull(ctx context.Context, full string, creds []Credential, tell func(Progress)) (*Image, time.Duration, error) {
	key := full + fmt.Sprint(creds)
	var waited time.Duration
	v, err, _ := s.flight.Do(key, func() (any, error) {
		if s.slots != nil {
			began := time.Now()
			s.slots <- struct{}{}
			defer func() { <-s.slots }()
			waited = time.Since(began)
		}
		// One caller going away must not fail the others.
		rec, err := s.pull.Pull(context.WithoutCancel(ctx), full, creds, tell)
		if err != nil {
			return nil, pullError(full, s.dir, err)
		}
		return s.load(context.WithoutCancel(ctx), rec)
	})
	if err != nil {
		return nil, waited, err
	}
	return v.(*Image), waited, nil
}

// load unpacks a stored image and remembers it.
func (s *Store) load(ctx context.Context, rec images.Image) (*Image, error) {
	s.mu.Lock()
	known, forgotten := s.byRef[rec.Name], s.forgotten[rec.Name]
	s.mu.Unlock()
	if known != nil && known.Digest == rec.Target.Digest.String() {
		return known, nil
	}
	v, err, _ := s.flight.Do("unpack "+rec.Target.Digest.String()+rec.Name, func() (any, error) {
		img := client.NewImage(s.client, rec)
		if err := img.Unpack(ctx, Snapshotter); err != nil && !errdefs.IsAlreadyExists(err) {
			return nil, pullError(rec.Name, s.dir, fmt.Errorf("unpacking: %w", err))
		}
		out, err := describe(ctx, img)
		if err != nil {
			return nil, &Error{Reason: "ErrImagePull", Err: fmt.Errorf("reading image %q: %w", rec.Name, err)}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.forgotten[rec.Name] == forgotten {
			s.byRef[rec.Name] = out
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*Image), nil
}

func describe(ctx context.Context, img client.Image) (*Image, error) {
	spec, err := img.Spec(ctx)
	if err != nil {
		return nil, err
	}
	size, err := img.Size(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := img.Config(ctx)
	if err != nil {
		return nil, err
	}
	out := &Image{
		Ref: img.Name(), Digest: img.Target().Digest.String(), ID: conf.Digest.String(),
		Chain: identity.ChainID(spec.RootFS.DiffIDs).String(), Size: size, Config: spec.Config,
	}
	if img.Labels()[pulledLabel] != "" {
		out.ID = repository(img.Name()) + "@" + out.Digest
	}
	return out, nil
}

// pulledLabel marks images that came from a registry, whose digest means something to others.
const pulledLabel = "gitopsd.io/pulled"

// List gives the images known to be ready, for the Node's status.
func (s *Store) List() []*Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Image, 0, len(s.byRef))
	for _, img := range s.byRef {
		out = append(out, img)
	}
	return out
}

// Forget drops what is known of the daemon's images; it is called when a daemon was replaced under us.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.byRef)
}

// WarmUp unpacks and describes every stored image, so that the first Pods after a start find them in memory.
func (s *Store) WarmUp(ctx context.Context) {
	list, err := s.client.ImageService().List(ctx)
	if err != nil {
		slog.Warn("listing the images on this node failed", "err", err)
		return
	}
	for _, rec := range list {
		if strings.HasPrefix(rec.Name, "sha256:") {
			continue
		}
		if _, err := s.load(ctx, rec); err != nil && !errors.Is(err, context.Canceled) {
			slog.Warn("an image on this node cannot be used until it is pulled again", "image", rec.Name, "err", err)
		}
	}
}

// withLease keeps what is fetched in ctx from being collected until done is called or a day has passed.
func withLease(ctx context.Context, c *client.Client) (context.Context, func(context.Context) error, error) {
	return c.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour))
}
