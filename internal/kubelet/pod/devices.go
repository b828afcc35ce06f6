package pod

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// containerDevices are the block volumes that the container sees as devices.
func containerDevices(in orderInput) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	for _, d := range in.container.VolumeDevices {
		v, ok := in.sandbox.Volumes[d.Name]
		if !ok || !v.Block {
			return nil, fmt.Errorf("device %s: volume %q is not a block device: its claim must have volumeMode: Block", d.DevicePath, d.Name)
		}
		var st unix.Stat_t
		if err := unix.Stat(v.Path, &st); err != nil {
			return nil, fmt.Errorf("device %s: %s: %w", d.DevicePath, v.Path, err)
		}
		out = append(out, specs.LinuxDevice{Path: d.DevicePath, Type: "b", Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))})
	}
	return out, nil
}
