package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/logging"
)

const cleanUsage = `Usage: node clean [flags]

Stop and remove everything that a node daemon left on this host, which is all of it when the daemon was merely ended:
containers, its own containerd, the log collector, mounts, control groups, network and data. The daemon itself must
have ended. The Node object stays in the cluster until 'kubectl delete node'. The data of volumes on this host's disk
stays, unless --delete-volumes is given.
`

// clean takes a node off its host.
func clean(ctx context.Context, args []string) error {
	cfg := kubelet.Defaults()
	f := pflag.NewFlagSet("node clean", pflag.ContinueOnError)
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "the node's --data-dir")
	f.StringVar(&cfg.KubeletDir, "kubelet-dir", "", "the node's --kubelet-dir")
	f.StringVar(&cfg.CgroupRoot, "cgroup-root", cfg.CgroupRoot, "the node's --cgroup-root")
	f.StringVar(&cfg.PodLogDir, "pod-log-dir", cfg.PodLogDir, "the node's --pod-log-dir")
	f.StringVar(&cfg.Containerd, "containerd-address", "", "the node's --containerd-address")
	f.StringSliceVar(&cfg.ClusterCIDR, "cluster-cidr", cfg.ClusterCIDR, "the node's --cluster-cidr")
	registerCNI(f, &cfg)
	deleteVolumes := f.Bool("delete-volumes", false, "delete the data of volumes too")
	if err := parse(f, cleanUsage, args); err != nil {
		return err
	}
	cfg.KeepVolumes = !*deleteVolumes
	logging.Setup(os.Stderr, slog.LevelInfo)
	return kubelet.Clean(ctx, cfg)
}
