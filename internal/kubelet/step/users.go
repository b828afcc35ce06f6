package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// Users gives a Pod that asks for a user namespace of its own the IDs for it.
type Users struct {
	Ranges *userns.Ranges
	// Able says why the handler of a Pod (Sandbox.Runtime) cannot give user namespaces.
	Able func(handler string) error
}

var _ Step = Users{}

// Name is how other steps refer to it.
func (Users) Name() string { return "users" }

// Needs the directory, which keeps what was given, and to know what runs the containers.
func (Users) Needs() []string { return []string{"directory", "handler"} }

// OwnUsers says whether a Pod asks for a user namespace of its own.
func OwnUsers(pod *v1.Pod) bool { return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers }

// Setup takes the IDs. Running a Pod that cannot have them as if it had not asked would give its root more rights than its author trusts it with.
func (u Users) Setup(_ context.Context, s *Sandbox) error {
	s.Users = userns.Range{}
	if !OwnUsers(s.Pod) {
		return nil
	}
	if err := u.Able(s.Runtime); err != nil {
		return fmt.Errorf("hostUsers: false: %w", err)
	}
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("hostUsers: false: the Pod's own root cannot enter %s, which has the mode %#o; `chmod o+x` it", dir, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if !userns.Kept(s.Dir) {
		// Namespaces that are there are of other IDs. They are made anew.
		if err := os.Remove(filepath.Join(s.Dir, sandboxFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var err error
	s.Users, err = u.Ranges.Take(s.Dir)
	return err
}

// Teardown gives the IDs back.
func (u Users) Teardown(_ context.Context, s *Sandbox) error {
	return u.Ranges.Give(s.Dir)
}
