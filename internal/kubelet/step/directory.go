package step

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gitopsd/gitopsd/internal/kubelet/volume"
)

// Directory makes the Pod's directory, and removes it in the end with all that is left in it.
type Directory struct{}

var _ Step = Directory{}

// Name is how other steps refer to it.
func (Directory) Name() string { return "directory" }

// Needs nothing.
func (Directory) Needs() []string { return nil }

// Setup makes the directory and those that containers' own files go to.
func (Directory) Setup(_ context.Context, s *Sandbox) error {
	for _, d := range []string{s.Dir, filepath.Join(s.Dir, containersDir), filepath.Join(s.Dir, etcDir)} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return fmt.Errorf("making the Pod's directory: %w", err)
		}
	}
	return nil
}

// Teardown removes containers' own mounts and files. The Pod's record stays until its worker has no more use for it.
func (Directory) Teardown(_ context.Context, s *Sandbox) error {
	if err := volume.UnmountAll(filepath.Join(s.Dir, subPathsDir)); err != nil {
		return err
	}
	for _, d := range []string{containersDir, etcDir} {
		if err := os.RemoveAll(filepath.Join(s.Dir, d)); err != nil {
			return err
		}
	}
	return nil
}

// Directories within a Pod's.
const (
	containersDir = "containers"
	etcDir        = "etc"
	volumesDir    = "volumes"
	imagesDir     = "images"
	subPathsDir   = "subpaths"
	namespacesDir = "ns"
	shmDir        = "shm"
)

// TerminationLog is the file that a container attempt may leave its last words in.
func (s *Sandbox) TerminationLog(container string, attempt int) string {
	return filepath.Join(s.Dir, containersDir, fmt.Sprintf("%s-%d-termination", container, attempt))
}

// SubPath is where the i-th mount of a container is bound to, if it is of a part of a volume only.
func (s *Sandbox) SubPath(container string, i int) string {
	return filepath.Join(s.Dir, subPathsDir, container, fmt.Sprint(i))
}

// Mapped is where a file or directory of the node is mounted for a container, if its Pod has user IDs of its own.
func (s *Sandbox) Mapped(container string, i int) string {
	return filepath.Join(s.Dir, subPathsDir, container, fmt.Sprintf("%d-mapped", i))
}

// ImageVolume is where a volume of an image's content is mounted.
func (s *Sandbox) ImageVolume(name string) string { return filepath.Join(s.Dir, imagesDir, name) }

// Etc is a file that containers see in /etc.
func (s *Sandbox) Etc(name string) string { return filepath.Join(s.Dir, etcDir, name) }

// Shm is the directory of the Pod's shared memory; empty where the host's is used.
func (s *Sandbox) Shm() string {
	if s.Pod.Spec.HostIPC {
		return "/dev/shm"
	}
	return filepath.Join(s.Dir, shmDir)
}
