package image

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Progress is how far a pull has come.
type Progress struct {
	Done, Total int64 // bytes; Total is of what is known by now to belong to the image
	Took        time.Duration
}

// firstProgress is how long a pull takes before it is told of; each next time comes after twice as long, so that one of an hour is told of ten times.
const firstProgress = 5 * time.Second

// parts are the manifests, configurations and layers that a pull has come across.
type parts struct {
	mu   sync.Mutex
	list []ocispec.Descriptor
}

// Handle notes a part.
func (p *parts) Handle(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, d)
	return nil, nil
}

var _ images.Handler = &parts{}

// progress adds up what of the parts is here.
func (p *parts) progress(ctx context.Context, c *client.Client) (out Progress, err error) {
	p.mu.Lock()
	list := append([]ocispec.Descriptor(nil), p.list...)
	p.mu.Unlock()
	active, err := c.ContentStore().ListStatuses(ctx, "")
	if err != nil {
		return out, err
	}
	offset := map[string]int64{}
	for _, a := range active {
		offset[a.Ref] = a.Offset
	}
	for _, d := range list {
		out.Total += d.Size
		if n, ok := offset[remotes.MakeRefKey(ctx, d)]; ok {
			out.Done += n
		} else if _, err := c.ContentStore().Info(ctx, d.Digest); err == nil {
			out.Done += d.Size
		}
	}
	return out, nil
}

// tell tells of the progress of a pull until ctx ends.
func (p *parts) tell(ctx context.Context, c *client.Client, began time.Time, tell func(Progress)) {
	for pause := firstProgress; ; pause *= 2 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		now, err := p.progress(ctx, c)
		if err != nil || ctx.Err() != nil {
			continue // the pull itself fails too, if containerd is away, and says so
		}
		now.Took = time.Since(began)
		tell(now)
	}
}
