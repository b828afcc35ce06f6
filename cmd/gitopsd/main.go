// Command gitopsd is the control plane and the command line of gitopsd.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

// exitError carries the exit status of a command whose outcome is more than success or failure.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

func main() {
	sandbox.Main() // a rendering that could take all of this process's time or memory is done in another one
	// The live heap is small beside what requests allocate: collecting earlier halves the resident memory for a few percent of processor time.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:   "gitopsd",
		Short: "A container orchestrator whose source of truth is a Git repo",
		Long: `gitopsd runs what a Git repo says: push manifests to a branch, and they are applied, scheduled, run and reachable.
It speaks the Kubernetes API, so kubectl and everything else that does works with it.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(), newUpCommand(), newTokenCommand(), newEncryptionCommand(), newBackupCommand(), newRestoreCommand(), newKubeconfigCommand(), newKubectlCommand(), newVersionCommand())
	root.AddCommand(commands()...)
	if filepath.Base(os.Args[0]) == "kubectl" {
		root.SetArgs(append([]string{"kubectl"}, os.Args[1:]...))
	}
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.code)
	case err != nil:
		fmt.Fprintln(os.Stderr, "gitopsd:", err)
		os.Exit(1)
	}
}
