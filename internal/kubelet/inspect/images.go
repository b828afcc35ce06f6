package inspect

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
)

// Image is one that the node has.
type Image struct {
	Ref    string    `json:"ref"`
	Digest string    `json:"digest"`
	Size   int64     `json:"size"` // bytes, as fetched
	Since  time.Time `json:"since"`
	UsedBy []string  `json:"usedBy,omitempty"` // Pods
}

// Images lists what the node of a data directory has.
func Images(ctx context.Context, dir string, c *client.Client) ([]Image, error) {
	list, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the images on this node: %w", err)
	}
	users, err := users(dir)
	if err != nil {
		return nil, err
	}
	out := []Image{}
	for _, rec := range list {
		if strings.HasPrefix(rec.Name, "sha256:") {
			continue // another name of one that has a better one
		}
		size, err := client.NewImage(c, rec).Size(ctx)
		if err != nil {
			size = 0 // a part of it is missing, or it is for other machines
		}
		out = append(out, Image{Ref: rec.Name, Digest: rec.Target.Digest.String(), Size: size, Since: rec.CreatedAt, UsedBy: users[rec.Name]})
	}
	slices.SortFunc(out, func(a, b Image) int { return cmp.Compare(a.Ref, b.Ref) })
	return out, nil
}

// users are the Pods that use each image, for a container or a volume, by the image's normalized reference.
func users(dir string) (map[string][]string, error) {
	pods, err := pod.LoadPods(filepath.Join(dir, "pods"))
	if err != nil {
		return nil, err // rather none than too few: what is unused may be removed
	}
	out := map[string][]string{}
	for _, p := range pods {
		refs := map[string]bool{}
		for _, ref := range image.Of(&p.Spec) {
			refs[ref] = true
		}
		for ref := range refs {
			if full, err := image.Normalize(ref); err == nil {
				out[full] = append(out[full], p.Namespace+"/"+p.Name)
			}
		}
	}
	for _, names := range out {
		slices.Sort(names)
	}
	return out, nil
}

// Prune removes the images that no Pod uses, but for those from archives, which cannot be fetched again. It gives their names and how many bytes they had.
func Prune(ctx context.Context, dir string, c *client.Client) ([]string, int64, error) {
	before, err := Images(ctx, dir, c)
	if err != nil {
		return nil, 0, err
	}
	store := image.New(c, image.Pulling{}, dir)
	var used []string
	for _, i := range before {
		if len(i.UsedBy) > 0 {
			used = append(used, i.Ref)
		}
	}
	unused := image.Unused{Store: store, Used: func() []string { return used }}
	_, err = unused.Collect(ctx, image.Keeping{}, image.All)
	after, lerr := Images(ctx, dir, c)
	if lerr != nil {
		return nil, 0, lerr
	}
	var gone []string
	freed, digests := int64(0), map[string]bool{}
	for _, i := range before {
		if !slices.ContainsFunc(after, func(j Image) bool { return j.Ref == i.Ref }) {
			gone = append(gone, i.Ref)
			if !digests[i.Digest] {
				digests[i.Digest] = true
				freed += i.Size
			}
		}
	}
	return gone, freed, err
}
