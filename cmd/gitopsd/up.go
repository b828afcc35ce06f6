package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

func newUpCommand() *cobra.Command {
	var f serveFlags
	var nodeName, nodeBinary string
	var nodeArgs []string
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the control plane and a node on this host",
		Long: `Run the control plane and a node on this one host, in the foreground, until interrupted.
Containers keep running when it stops; the next start takes them over.`,
		Example: `  gitopsd up --repo https://git.example.com/home.git`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			binary, err := findNode(nodeBinary)
			if err != nil {
				return err
			}
			if f.Port == 0 {
				return errors.New("--https-port: up needs a fixed port, for the node to find the control plane again after a restart")
			}
			base := f.DataDir
			f.DataDir = upControlPlane(base)
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			stopped := make(chan struct{})
			started := false
			err = serve.Run(ctx, f.Options, func() {
				started = true
				go func() {
					defer close(stopped)
					superviseNode(ctx, binary, append(nodeFlags(&f, base, nodeName), nodeArgs...))
				}()
			})
			cancel()
			if started {
				<-stopped
			}
			return err
		},
	}
	f.register(c.Flags())
	c.Flags().StringVar(&nodeName, "node-name", "", "name of this host's node (default: the host name)")
	c.Flags().StringVar(&nodeBinary, "node-binary", "", "the node daemon (default: `node` beside gitopsd, then gitopsd-node in PATH)")
	c.Flags().StringArrayVar(&nodeArgs, "node-arg", nil, "a further argument for the node daemon, such as --node-arg=--mirror=http://registry:5000")
	return c
}

// findNode finds the node daemon, which is a program of its own so that neither has to restart with the other.
func findNode(given string) (string, error) {
	if given != "" {
		return exec.LookPath(given)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), "node")
	if _, err := exec.LookPath(beside); err == nil {
		return beside, nil
	}
	if found, err := exec.LookPath("gitopsd-node"); err == nil {
		return found, nil
	}
	return "", fmt.Errorf("the node daemon is neither %s nor gitopsd-node in PATH; build it with `make build` or name it with --node-binary", beside)
}

func nodeFlags(f *serveFlags, base, name string) []string {
	host := f.Advertise
	if host == "" {
		host = f.BindAddress
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	args := []string{
		"--server=https://" + net.JoinHostPort(host, strconv.Itoa(f.Port)), "--data-dir=" + filepath.Join(base, "node"),
		"--token-file=" + filepath.Join(f.DataDir, "node-token"), "--cluster-cidr=" + joined(f.ClusterCIDRs),
	}
	if name != "" {
		args = append(args, "--name="+name)
	}
	return args
}

const (
	// Back-off between two starts of a node daemon that ends by itself, and the life after which it counts as having worked.
	minRestart, maxRestart = time.Second, 30 * time.Second
	workedAfter            = time.Minute
)

// superviseNode keeps the node daemon running until ctx ends.
func superviseNode(ctx context.Context, binary string, args []string) {
	// The kernel ends the child when the thread that made it goes (prctl(2), PR_SET_PDEATHSIG): this goroutine must keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for wait := minRestart; ; wait = min(2*wait, maxRestart) {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 10 * time.Second
		err := cmd.Run()
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > workedAfter {
			wait = minRestart
		}
		slog.Error("the node daemon ended; its containers run on", "err", err, "restart-in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
