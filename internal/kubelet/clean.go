package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/dns"
	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
	"github.com/gitopsd/gitopsd/internal/kubelet/podresources"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/netpolicy"
	"github.com/gitopsd/gitopsd/internal/proxy"
	"github.com/gitopsd/gitopsd/internal/pv/disk"
)

// connectTimeout bounds the wait for a containerd while cleaning; one of the node's own may be dead, and its containers too.
const connectTimeout = 3 * time.Second

// Clean takes a node off this host: containers, processes, mounts, control groups, network, logs and data. Every part is tried whatever became of the others.
func Clean(ctx context.Context, cfg Config) error {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	locked, err := lock(dir)
	if err != nil {
		return err
	}
	defer locked.Close()
	var all error
	note := func(err error) {
		if err != nil {
			slog.Warn("cleaning", "err", err)
			all = errors.Join(all, err)
		}
	}

	podDirs, _ := filepath.Glob(filepath.Join(dir, "pods", "*"))
	pods, err := pod.LoadPods(podsDir(dir))
	note(err)
	own := runtime.NewDaemon(filepath.Join(dir, "containerd"))
	address := cfg.Containerd
	if address == "" {
		address = own.Address()
	}
	note(removeAllContainers(ctx, address, dir, podDirs))
	if cfg.Containerd == "" {
		note(own.Stop(ctx))
	}
	note(logs.Stop(filepath.Join(dir, "streams")))

	tree, err := cgroup.Open(cfg.CgroupRoot)
	note(err)
	plan := step.Plan{Steps: []step.Step{step.Directory{}, step.Volumes{}, step.Namespaces{}}}
	for _, d := range podDirs {
		uid := filepath.Base(d)
		if tree != nil {
			for _, pid := range tree.PIDs(uid) {
				if p, err := os.FindProcess(pid); err == nil {
					p.Kill() // of a container whose shim and containerd are dead
				}
			}
		}
		note(plan.Teardown(ctx, &step.Sandbox{Pod: &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}, Dir: d}))
		if tree != nil {
			note(tree.Remove(uid))
		}
	}
	if tree != nil {
		note(tree.RemoveAll())
	}
	if cfg.KubeletDir, err = kubeletDir(cfg.KubeletDir, dir); err != nil {
		return err
	}
	note(csi.Clean(cfg.KubeletDir))
	note(os.RemoveAll(filepath.Dir(podresources.Socket(cfg.KubeletDir))))
	note(removeNetwork(ctx, dir, cfg))
	note(proxy.Cleanup(ctx))
	note(netpolicy.Cleanup(ctx))
	note(dns.Cleanup(dnsDir(dir)))
	note(shutdown.Clean(shutdown.ConfigDir))
	for _, p := range pods {
		note(os.RemoveAll(filepath.Join(cfg.PodLogDir, p.Namespace+"_"+p.Name+"_"+string(p.UID))))
	}
	note((&disk.Store{Dir: volumesDir(dir)}).Close())
	if all != nil {
		return fmt.Errorf("some of the node in %s is left; run this again once the cause is removed: %w", dir, all)
	}
	if err := mounts.Detach(dir); err != nil {
		return err // below what is still mounted is somebody's data
	}
	return removeAllBut(dir, cfg.KeepVolumes)
}

// removeAllBut removes a node's data directory; of the volumes in it only those that are not to be kept.
func removeAllBut(dir string, keepVolumes bool) error {
	volumes := volumesDir(dir)
	store := &disk.Store{Dir: volumes}
	found, bad := store.List()
	if !keepVolumes {
		for _, v := range found {
			if err := store.Remove(v); err != nil {
				return err
			}
		}
	}
	if !keepVolumes || len(found) == 0 && bad == nil {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var all error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); path != volumes {
			all = errors.Join(all, os.RemoveAll(path))
		}
	}
	slog.Warn("the data of volumes is kept; a node of the same name with this data directory offers it again, `node clean --delete-volumes` deletes it", "dir", volumes)
	return all
}

func removeAllContainers(ctx context.Context, address, dir string, podDirs []string) error {
	if len(podDirs) == 0 {
		return nil
	}
	r, err := runtime.Connect(address, filepath.Join(dir, "exec"), filepath.Join(dir, "roots"))
	if err != nil {
		return err
	}
	defer r.Client.Close()
	up, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := r.WaitUp(up); err != nil {
		slog.Info("containerd does not answer; its containers' processes are killed by their control groups", "address", address)
		return nil
	}
	mine := map[string]bool{}
	for _, d := range podDirs {
		mine[filepath.Base(d)] = true
	}
	found, err := r.List(ctx)
	if err != nil {
		return err
	}
	var all error
	for _, s := range found {
		if mine[s.PodUID] {
			all = errors.Join(all, r.Delete(ctx, s.ID))
		}
	}
	images := image.New(r.Client, image.Pulling{}, dir)
	for _, d := range podDirs {
		uid := filepath.Base(d)
		all = errors.Join(all, r.EndShims(ctx, uid))
		all = errors.Join(all, step.Volumes{Images: images}.Teardown(ctx, &step.Sandbox{Pod: &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}, Dir: d}))
	}
	return all
}

func removeNetwork(ctx context.Context, dir string, cfg Config) error {
	for _, s := range cfg.ClusterCIDR {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("--cluster-cidr %q: %w", s, err)
		}
		cfg.clusterCIDRs = append(cfg.clusterCIDRs, p)
	}
	cfg.DataDir = dir
	n, err := newPodNetwork(&cfg)
	if err != nil {
		return err
	}
	if made := n.get(); made != nil {
		return made.Remove(ctx)
	}
	return nil
}
