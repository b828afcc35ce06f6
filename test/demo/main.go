package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/shop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// timeout bounds the whole demo; every wait in it ends with it.
const timeout = 5 * time.Minute

func run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := cluster.LookPath("kubectl", "kubernetes-client"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gitopsd-demo-")
	if err != nil {
		return err
	}
	d := &demo{bin: filepath.Dir(exe), out: os.Stdout, begin: time.Now()}
	defer func() {
		if d.Shop != nil {
			// The logs are what explains a failure, unless somebody just had enough; everything else goes.
			if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
				err = errors.Join(err, d.keepLogs(dir))
			}
			start := time.Now()
			err = errors.Join(err, d.Down())
			d.line("everything removed", time.Since(start), "no process, namespace, mount or cgroup is left")
		}
		_ = os.Remove(dir)
	}()
	start := time.Now()
	c, err := cluster.Up(ctx, cluster.Options{
		Dir: dir, Workers: 2, Bin: d.bin, Owned: true, Serve: []string{"--node-monitor-grace-period", gracePeriod},
	})
	if err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	if d.Shop, err = shop.Open(c); err != nil {
		return errors.Join(err, c.Down())
	}
	d.line("cluster started", time.Since(start), "a control plane and 2 workers, each Ready; a Git server; nothing else")
	for _, s := range d.steps() {
		start := time.Now()
		detail, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("%s (after %s): %w", s.name, time.Since(start).Round(time.Millisecond), err)
		}
		d.line(s.name, time.Since(start), detail)
	}
	fmt.Fprintf(d.out, "\nall %d steps as promised, in %s\n", len(d.steps()), time.Since(d.begin).Round(time.Millisecond))
	return nil
}

// keepLogs saves the logs from the cluster's folder.
func (d *demo) keepLogs(dir string) error {
	saved := dir + "-logs"
	if err := os.CopyFS(saved, os.DirFS(filepath.Join(d.Dir(), "logs"))); err != nil {
		return err
	}
	return fmt.Errorf("logs of all processes are in %s", saved)
}

func (d *demo) line(name string, took time.Duration, detail string) {
	fmt.Fprintf(d.out, "%8.3f s  %-44s %s\n", took.Seconds(), name, detail)
}
