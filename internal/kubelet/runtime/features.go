package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"os/exec"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Supported is what this machine's runc and kernel can do beyond what every node has to.
type Supported struct{ runc features.Features }

// Features asks runc. One that cannot be asked, because it is too old or is not there yet, can do none of it.
func Features(ctx context.Context) Supported {
	var s Supported
	out, err := exec.CommandContext(ctx, "runc", "features").Output()
	if err == nil {
		err = json.Unmarshal(out, &s.runc)
	}
	if err != nil {
		slog.Info("runc does not tell what it can do; it is taken to know no recursive read-only mounts", "err", err)
	}
	return s
}

// RecursiveReadOnly says whether mounts can be read-only with what is mounted below them: runc 1.1, Linux 5.12.
func (s Supported) RecursiveReadOnly() bool {
	// The kernel looks at the size of the attributes first.
	return slices.Contains(s.runc.MountOptions, "rro") && unix.MountSetattr(-1, "", 0, &unix.MountAttr{}) != unix.ENOSYS
}
