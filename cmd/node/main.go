// Command node is the node daemon of gitopsd: it joins this host to a cluster and runs its Pods.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// release is set by the linker.
var release = "dev"

func main() {
	// The live heap is small beside what watching and pulling allocate: collecting earlier halves the resident memory for a few percent of processor time.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRunCommand()
	root.AddCommand(newCleanCommand(), newLoggerCommand(), newHoldCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		stop()
		os.Exit(1)
	}
}
