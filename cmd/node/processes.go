package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/logging"
	"github.com/gitopsd/gitopsd/internal/resident"
)

// The processes below outlive the daemon; it starts them itself.

// runLogger is the process that writes containers' logs: `node logger DIR VERSION ROTATION`.
func runLogger(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("logger: is started by node itself")
	}
	rotation, err := logs.ParseRotation(args[2])
	if err != nil {
		return err
	}
	logging.Setup(os.Stderr, slog.LevelInfo)
	locked, err := logs.Lock(args[0])
	if err != nil {
		return err
	}
	defer locked.Close()
	c, err := logs.NewCollector(args[0], rotation)
	if err != nil {
		return err
	}
	resident.ReleaseProgram()
	return c.Serve(ctx, args[1], func() {
		// The daemon waits for this on the pipe that it passed as the first extra descriptor.
		ready := os.NewFile(3, "ready")
		fmt.Fprintln(ready, "up")
		ready.Close()
	})
}

// runHold is the first process of a PID namespace that the containers of a Pod share: `node hold DIR`. With a mount namespace of its own, `node hold DIR secluded`.
func runHold(ctx context.Context, args []string) error {
	if len(args) == 0 || os.Getpid() != 1 {
		return errors.New("hold: is started by node itself, as the first process of a namespace")
	}
	resident.ReleaseProgram()
	if len(args) == 2 && args[1] == namespaces.Secluded {
		if err := namespaces.Seclude(); err != nil {
			return err
		}
	}
	namespaces.Reap(ctx)
	return nil
}
