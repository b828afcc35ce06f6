package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// Keeping is the node's flags about images that no Pod uses, named after the fields of a KubeletConfiguration.
type Keeping struct {
	HighThreshold, LowThreshold int // percent of the disk in use, from when on images are removed, and until when; 100 and more never
	MinimumAge, MaximumAge      time.Duration
}

// DefaultKeeping is the kubelet's.
func DefaultKeeping() Keeping {
	return Keeping{HighThreshold: 85, LowThreshold: 80, MinimumAge: 2 * time.Minute}
}

// Check refuses flags that make no sense.
func (k Keeping) Check() error {
	switch {
	case k.HighThreshold < 0 || k.HighThreshold > 100:
		return fmt.Errorf("--image-gc-high-threshold-percent %d: must be a percentage, 0 to 100", k.HighThreshold)
	case k.LowThreshold < 0 || k.LowThreshold >= k.HighThreshold && k.HighThreshold > 0:
		return fmt.Errorf("--image-gc-low-threshold-percent %d: must be a percentage below --image-gc-high-threshold-percent, which is %d", k.LowThreshold, k.HighThreshold)
	case k.MaximumAge != 0 && k.MaximumAge <= k.MinimumAge:
		return fmt.Errorf("--image-maximum-gc-age %s: must be 0, or longer than --image-minimum-gc-age, which is %s", k.MaximumAge, k.MinimumAge)
	}
	return nil
}

// Published writes the flags into a node's published configuration.
func (k Keeping) Published(into *kubeletconfig.KubeletConfiguration) {
	high, low := int32(k.HighThreshold), int32(k.LowThreshold)
	into.ImageGCHighThresholdPercent, into.ImageGCLowThresholdPercent = &high, &low
	into.ImageMinimumGCAge.Duration, into.ImageMaximumGCAge.Duration = k.MinimumAge, k.MaximumAge
}

// Excess says how many bytes of images are to be removed from a disk of which so much is left; 0 for none.
func (k Keeping) Excess(available, capacity int64) int64 {
	if capacity <= 0 || k.HighThreshold >= 100 || 100-available*100/capacity < int64(k.HighThreshold) {
		return 0
	}
	return max(capacity*int64(100-k.LowThreshold)/100-available, 0)
}

// Candidate is an image that can be fetched again when it is needed, under all the names it has here.
type Candidate struct {
	Digest    string
	Refs      []string
	Size      int64
	FirstSeen time.Time
	LastUsed  time.Time // zero: not since it was first seen
}

func (c *Candidate) idleSince() time.Time {
	if c.LastUsed.After(c.FirstSeen) {
		return c.LastUsed
	}
	return c.FirstSeen
}

// Choose says which images go: those unused for longer than the maximum age, and, the ones that were used longest ago first, as many as make up excess
// bytes. One that is younger than the minimum age may be about to be used.
func (k Keeping) Choose(all []Candidate, excess int64, now time.Time) []Candidate {
	order := slices.Clone(all)
	slices.SortFunc(order, func(a, b Candidate) int {
		return cmp.Or(a.LastUsed.Compare(b.LastUsed), a.FirstSeen.Compare(b.FirstSeen), cmp.Compare(a.Digest, b.Digest))
	})
	var out []Candidate
	for _, c := range order {
		old := k.MaximumAge > 0 && now.Sub(c.idleSince()) > k.MaximumAge
		if !old && (excess <= 0 || now.Sub(c.FirstSeen) < k.MinimumAge) {
			continue
		}
		out = append(out, c)
		excess -= c.Size
	}
	return out
}

// Unused removes images that no Pod uses.
type Unused struct {
	Store *Store
	// Used gives the images that Pods of this node use or are about to, as their specs name them.
	Used func() []string

	mu    sync.Mutex
	known map[string]*Candidate // by digest
}

// All as excess removes whatever is unused, however young.
const All = int64(1) << 62

// Collect removes unused images, and gives how many bytes they had. Images that came from an archive are kept: there is nowhere to fetch them again.
func (u *Unused) Collect(ctx context.Context, k Keeping, excess int64) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if excess == All {
		k.MinimumAge = 0
	}
	now := time.Now()
	list, err := u.Store.client.ImageService().List(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing the images on this node: %w", err)
	}
	idle := u.idle(list, now)
	freed := int64(0)
	var failed error
	for _, c := range k.Choose(idle, excess, now) {
		if err := u.Store.remove(ctx, c.Refs); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		delete(u.known, c.Digest)
		freed += c.Size
		slog.Info("an image that no Pod uses was removed", "image", c.Refs[0], "bytes", c.Size)
	}
	return freed, failed
}

// idle takes in which images there are and are used, and gives the others that may be removed.
func (u *Unused) idle(list []images.Image, now time.Time) []Candidate {
	used := map[string]bool{}
	for _, ref := range u.Used() {
		if full, err := Normalize(ref); err == nil {
			used[full] = true
		}
	}
	if u.known == nil {
		u.known = map[string]*Candidate{}
	}
	there, busy, kept := map[string][]string{}, map[string]bool{}, map[string]bool{}
	for _, img := range list {
		d := img.Target.Digest.String()
		there[d] = append(there[d], img.Name)
		busy[d] = busy[d] || used[img.Name]
		kept[d] = kept[d] || img.Labels[pulledLabel] == ""
	}
	var out []Candidate
	for d := range u.known {
		if there[d] == nil {
			delete(u.known, d)
		}
	}
	for d, refs := range there {
		c := u.known[d]
		if c == nil {
			c = &Candidate{Digest: d, FirstSeen: now}
			u.known[d] = c
		}
		slices.Sort(refs)
		c.Refs, c.Size = refs, u.Store.size(refs)
		if busy[d] {
			c.LastUsed = now
		}
		if !busy[d] && !kept[d] {
			out = append(out, *c)
		}
	}
	return out
}

// size of an image by any of its names; 0 if it is not known yet, which it is once the node has looked through its images after a start.
func (s *Store) size(refs []string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		if img := s.byRef[r]; img != nil {
			return img.Size
		}
	}
	return 0
}

// forget has images looked up anew, also by who is looking one up now.
func (s *Store) forget(refs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		delete(s.byRef, r)
		s.forgotten[r]++
	}
}

// remove deletes an image under all its names. It is forgotten first: whoever wants it from now on fetches it.
func (s *Store) remove(ctx context.Context, refs []string) error {
	// And once more when it is deleted: who looked it up in between must not remember what is gone.
	s.forget(refs)
	defer s.forget(refs)
	for i, r := range refs {
		var opts []images.DeleteOpt
		if i == len(refs)-1 {
			opts = append(opts, images.SynchronousDelete()) // containerd frees the disk before it answers
		}
		if err := s.client.ImageService().Delete(ctx, r, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing image %s: %w", r, err)
		}
	}
	return nil
}
