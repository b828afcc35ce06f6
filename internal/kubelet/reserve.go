package kubelet

import (
	"fmt"
	"log/slog"
	"path/filepath"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
)

// reserve holds all Pods together to what the flags leave them, and takes into h what concerns each.
func (d *daemon) reserve(tree *cgroup.Tree, h *spec.Host) error {
	capacity := register.Capacity(d.cfg.DataDir)
	offered, err := d.cfg.share.Of(capacity, d.cfg.thresholds)
	if err != nil {
		return err
	}
	_, processes := register.Processes()
	limits := d.cfg.share.Group(capacity, int64(processes))
	// What Pods use already may be more than they are to have from now on: a limit of memory below it cannot be set, and they are not killed for it.
	if err := tree.LimitAll(limits); err != nil && limits.Memory > 0 && int64(tree.Usage(d.cfg.CgroupRoot).Memory) >= limits.Memory {
		slog.Warn("Pods use more memory than --system-reserved and --kube-reserved leave them; they are held to it when the node is started anew", "err", err)
	} else if err != nil {
		return fmt.Errorf("holding Pods to what is not reserved: %w", err)
	}
	d.podMemory = limits.Memory
	h.PodPIDs, h.Throttling, h.Allocatable = d.cfg.share.PodPIDs(), d.cfg.Throttling, offered.Memory().Value()
	if tree.Has("hugetlb") {
		h.HugePages = register.HugePageSizes()
	}
	return nil
}

// processors takes up what containers have of the machine's processors for themselves.
func (d *daemon) processors() (*cpuset.CPUs, error) {
	machine, err := cpuset.Machine()
	if err != nil {
		return nil, err
	}
	reserved := d.cfg.share.Reserved[v1.ResourceCPU]
	return cpuset.Open(d.cfg.CPUs, machine, reserved.MilliValue(), filepath.Join(d.cfg.DataDir, "cpu_manager_state"))
}

// allocatable is what of the machine's capacity Pods may have.
func (d *daemon) allocatable(capacity v1.ResourceList) v1.ResourceList {
	out, err := d.cfg.share.Of(capacity, d.cfg.thresholds)
	if err != nil {
		// The machine has become smaller than what is reserved of it since the daemon was started, when this was checked.
		slog.Error("nothing is offered to Pods", "err", err)
		return v1.ResourceList{}
	}
	return out
}
