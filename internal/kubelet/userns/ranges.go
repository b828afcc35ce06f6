package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// Range is the host's IDs that a Pod's own IDs, from 0 on, stand for. The zero Range stands for the host's IDs themselves.
type Range struct{ First, Size uint32 }

// Own says whether a Pod has IDs of its own.
func (r Range) Own() bool { return r.Size > 0 }

// MountOptions have containerd's mount package show files to the Pod's users: those of the node's root to the Pod's root, and so on.
func (r Range) MountOptions() []string {
	if !r.Own() {
		return nil
	}
	return []string{"uidmap=" + r.Mapping(), "gidmap=" + r.Mapping()}
}

// Mapping is the Range in the form that containerd's mount package takes.
func (r Range) Mapping() string { return fmt.Sprintf("0:%d:%d", r.First, r.Size) }

// rangeFile holds, in a Pod's directory, the first of its IDs.
const rangeFile = "users"

// Ranges are those of a node's Pods.
type Ranges struct {
	space Space

	mu   sync.Mutex
	held map[uint64]string // by first ID, the directory of the Pod that has them
}

// Open takes up which Pods below dir have which IDs. A file that cannot be read is a Pod's whose namespaces are made anew.
func Open(space Space, dir string) (*Ranges, error) {
	r := &Ranges{space: space, held: map[uint64]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*", rangeFile))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		pod := filepath.Dir(f)
		first, ok := read(pod)
		if other := r.held[first]; !ok || other != "" {
			slog.Error("which user IDs a Pod has is lost; it is given others", "file", f, "other", other)
			if err := os.Remove(f); err != nil {
				return nil, err
			}
			continue
		}
		r.held[first] = pod
	}
	return r, nil
}

func read(pod string) (uint64, bool) {
	b, err := os.ReadFile(filepath.Join(pod, rangeFile))
	if err != nil {
		return 0, false
	}
	first, err := strconv.ParseUint(string(b), 10, 31)
	return first, err == nil && first != 0 && first%Size == 0
}

// Kept says whether the Pod with a directory has IDs by the file that keeps them. Without, its user namespace is not to be used: others may have its IDs.
func Kept(pod string) bool {
	_, ok := read(pod)
	return ok
}

// Take gives the IDs of the Pod with a directory, which it keeps from then on.
func (r *Ranges) Take(pod string) (Range, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := read(pod); ok && r.held[first] == pod {
		return Range{uint32(first), Size}, nil
	}
	first, ok := r.space.free(func(first uint64) bool { return r.held[first] != "" })
	if !ok {
		return Range{}, fmt.Errorf("hostUsers: false: all user IDs for Pods, from %d up to %d, are given away; give the user %s more in /etc/subuid and /etc/subgid and start the node again", r.space.first, r.space.end-1, subordinate)
	}
	// Whole or not at all: half of a number is another's.
	path := filepath.Join(pod, rangeFile)
	if err := os.WriteFile(path+".tmp", []byte(strconv.FormatUint(first, 10)), 0o600); err != nil {
		return Range{}, err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return Range{}, err
	}
	r.held[first] = pod
	return Range{uint32(first), Size}, nil
}

// Give takes the IDs of a Pod back, once nothing runs by them. It may be repeated.
func (r *Ranges) Give(pod string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.Remove(filepath.Join(pod, rangeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for first, who := range r.held {
		if who == pod {
			delete(r.held, first)
		}
	}
	return nil
}
