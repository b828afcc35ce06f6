package grant

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// Grant is what one container is given.
type Grant struct {
	Env         map[string]string `json:"env,omitempty"`
	Mounts      []Mount           `json:"mounts,omitempty"`
	Devices     []Device          `json:"devices,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	CDI         []string          `json:"cdi,omitempty"` // vendor.com/class=name
}

// Mount is a file or directory of the host that the container sees.
type Mount struct {
	Container, Host string
	ReadOnly        bool `json:",omitempty"`
}

// Device is a device file of the host that the container sees; Permissions are some of r, w and m.
type Device struct{ Container, Host, Permissions string }

// Add puts another Grant to this one; what this one has already stays.
func (g *Grant) Add(o Grant) {
	put := func(into *map[string]string, from map[string]string) {
		for k, v := range from {
			if *into == nil {
				*into = map[string]string{}
			}
			if _, ok := (*into)[k]; !ok {
				(*into)[k] = v
			}
		}
	}
	put(&g.Env, o.Env)
	put(&g.Annotations, o.Annotations)
	for _, m := range o.Mounts {
		if !slices.ContainsFunc(g.Mounts, func(have Mount) bool { return have.Container == m.Container }) {
			g.Mounts = append(g.Mounts, m)
		}
	}
	for _, d := range o.Devices {
		if !slices.ContainsFunc(g.Devices, func(have Device) bool { return have.Container == d.Container }) {
			g.Devices = append(g.Devices, d)
		}
	}
	for _, name := range o.CDI {
		if !slices.Contains(g.CDI, name) {
			g.CDI = append(g.CDI, name)
		}
	}
}

// Into puts a Grant into a container's specification. What the container's own spec says wins over it.
func (g Grant) Into(s *specs.Spec, cdiDirs []string) error {
	for _, name := range slices.Sorted(maps.Keys(g.Env)) {
		if !slices.ContainsFunc(s.Process.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			s.Process.Env = append(s.Process.Env, name+"="+g.Env[name])
		}
	}
	for k, v := range g.Annotations {
		if _, ok := s.Annotations[k]; !ok {
			s.Annotations[k] = v
		}
	}
	for _, d := range g.Devices {
		if err := d.into(s); err != nil {
			return err
		}
	}
	if len(g.CDI) > 0 {
		// Read anew each time: a driver writes its file moments before.
		cache, err := cdi.NewCache(cdi.WithSpecDirs(cdiDirs...), cdi.WithAutoRefresh(false))
		if err != nil {
			return fmt.Errorf("reading the files of CDI devices in %s: %w", strings.Join(cdiDirs, ", "), err)
		}
		if _, err := cache.InjectDevices(s, g.CDI...); err != nil {
			return fmt.Errorf("%w; drivers describe CDI devices in files in %s", err, strings.Join(cdiDirs, " or "))
		}
	}
	return nil
}

func (d Device) into(s *specs.Spec) error {
	var st unix.Stat_t
	if err := unix.Stat(d.Host, &st); err != nil {
		return fmt.Errorf("device %s: %w", d.Host, err)
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return fmt.Errorf("device %s: is no device", d.Host)
	}
	major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
		Allow: true, Type: kind, Major: &major, Minor: &minor, Access: cmp.Or(d.Permissions, "rwm"),
	})
	s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(have specs.LinuxDevice) bool { return have.Path == d.Container })
	if len(s.Linux.UIDMappings) > 0 {
		// Nobody can make device files in a user namespace, and runc mounts those of the same path instead; the path need not be the same.
		s.Mounts = append(s.Mounts, specs.Mount{Destination: d.Container, Source: d.Host, Type: "bind", Options: []string{"bind", "rprivate", "rw"}})
		return nil
	}
	mode, uid, gid := os.FileMode(st.Mode&0o777), st.Uid, st.Gid
	s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: d.Container, Type: kind, Major: major, Minor: minor, FileMode: &mode, UID: &uid, GID: &gid})
	return nil
}
