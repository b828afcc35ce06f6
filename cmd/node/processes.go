package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// The processes below outlive the daemon; it starts them itself.

// newLoggerCommand is the process that writes containers' logs.
func newLoggerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logger DIR VERSION", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			logging.Setup(os.Stderr, slog.LevelInfo)
			c, err := logs.NewCollector(args[0])
			if err != nil {
				return err
			}
			// Most of the program was only touched by its libraries' initialization and is not needed here.
			debug.FreeOSMemory()
			releaseProgram()
			return c.Serve(cmd.Context(), args[1], func() {
				// The daemon waits for this on the pipe that it passed as the first extra descriptor.
				ready := os.NewFile(3, "ready")
				fmt.Fprintln(ready, "up")
				ready.Close()
			})
		},
	}
}

// newHoldCommand is the first process of a PID namespace that the containers of a Pod share.
func newHoldCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getpid() != 1 {
				return errors.New("hold: is started by node as the first process of a namespace")
			}
			releaseProgram()
			namespaces.Reap(cmd.Context())
			return nil
		},
	}
}

// newCleanCommand takes a node off its host.
func newCleanCommand() *cobra.Command {
	cfg := kubelet.Defaults()
	c := &cobra.Command{
		Use:   "clean",
		Short: "Remove a node's containers, processes, mounts, network and data from this host",
		Long: `clean stops everything that a node daemon left running on this host, which is all of it when the daemon was
merely ended: containers, its own containerd, the log collector, mounts, control groups, network and data.
The daemon itself must have ended. The Node object stays in the cluster until 'kubectl delete node'.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logging.Setup(os.Stderr, slog.LevelInfo)
			return kubelet.Clean(cmd.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "the node's --data-dir")
	f.StringVar(&cfg.CgroupRoot, "cgroup-root", cfg.CgroupRoot, "the node's --cgroup-root")
	f.StringVar(&cfg.PodLogDir, "pod-log-dir", cfg.PodLogDir, "the node's --pod-log-dir")
	f.StringVar(&cfg.Containerd, "containerd-address", "", "the node's --containerd-address")
	f.StringSliceVar(&cfg.ClusterCIDR, "cluster-cidr", cfg.ClusterCIDR, "the node's --cluster-cidr")
	return c
}
