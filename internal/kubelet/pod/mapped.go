package pod

import (
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/volume"
)

// mapMounts has what a container of a Pod with user IDs of its own mounts show through those: a file of the node's user 1000 is that of the container's user 1000, and what
// the container's root makes is root's. runc can do that itself from 1.2 on only. What is
// at the destinations in mapped is shown so already.
func mapMounts(in orderInput, mounts []specs.Mount, mapped map[string]bool) error {
	s := &in.sandbox
	users, err := os.Open(s.Namespaces.User)
	if err != nil {
		return err
	}
	defer users.Close()
	for i := range mounts {
		m := &mounts[i]
		if !mapped[m.Destination] {
			target := s.Mapped(in.container.Name, i)
			if err := volume.Map(m.Source, target, users); err != nil {
				return fmt.Errorf("mount %s: hostUsers: false: %w", m.Destination, err)
			}
			m.Source = target
		}
		if err := keepLocked(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	return nil
}

// keepLocked repeats the restrictions of what is mounted. In a user namespace none of them can be lifted, and runc before 1.2 tries to when it makes a mount
// read-only: the kernel then refuses that.
func keepLocked(m *specs.Mount) error {
	var st unix.Statfs_t
	if err := unix.Statfs(m.Source, &st); err != nil {
		return err
	}
	for _, f := range []struct {
		flag   int64
		option string
	}{{unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}} {
		if st.Flags&f.flag != 0 {
			m.Options = append(m.Options, f.option)
		}
	}
	return nil
}
