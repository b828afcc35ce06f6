package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
)

const shutdownUsage = `Usage: node shutdown [flags]

Have the node daemon of this host end its Pods in order, because the host is about to go down, and wait until they have
ended. How long that may take is said by the daemon's --shutdown-grace-period flags. The node takes no more Pods until
the daemon is started anew. Where systemd-logind tells of shutdowns the daemon does this by itself.
`

// shutDown asks the daemon to end its Pods.
func shutDown(ctx context.Context, args []string) error {
	cfg := kubelet.Defaults()
	f := pflag.NewFlagSet("node shutdown", pflag.ContinueOnError)
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "the node's --data-dir")
	if err := parse(f, shutdownUsage, args); err != nil {
		return err
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	text, err := shutdown.Ask(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Println(text)
	return nil
}
