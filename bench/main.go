package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/databases"
)

func main() {
	only := flag.String("only", "start,api,drift,repo,memory,push,pods,volumes,soak,scale,apps,dns,services,ingress", "which figures to take; besides these there is databases")
	idle := flag.Duration("idle", 5*time.Minute, "how long the cluster rests before memory is read")
	nodes := flag.Int("nodes", 100, "how many hollow nodes the scale figures are taken with")
	perNode := flag.Int("pods-per-node", 30, "how many Pods the scale figures make for each node")
	apps := flag.Int("apps", 1000, "how many Applications the figures of the GitOps engine are taken with")
	cycles := flag.Int("cycles", 1000, "how many Pods the soak makes and deletes")
	rounds := flag.Int("rounds", 20, "how many rounds of faults the databases have to stand")
	peers := flag.String("peers", "", "folder with kube-apiserver and etcd, to take the API's figures of them too, and with coredns, for those of DNS")
	bin := flag.String("bin", "bin", "folder of the programs")
	flag.Parse()
	if flag.NArg() > 0 {
		*only = strings.Join(flag.Args(), ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, strings.Split(*only, ","), *idle, *nodes, *perNode, *apps, *cycles, *rounds, *peers, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, only []string, idle time.Duration, nodes, perNode, apps, cycles, rounds int, peers string, out io.Writer) (err error) {
	wants := func(name string) bool {
		for _, o := range only {
			if o == name {
				return true
			}
		}
		return false
	}
	dir, err := os.MkdirTemp("", "gitopsd-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	if wants("start") {
		if err := benchStart(ctx, bin, dir, out); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if wants("api") {
		if err := benchAPI(ctx, bin, dir, peers, out); err != nil {
			return fmt.Errorf("api: %w", err)
		}
	}
	if wants("repo") {
		if err := benchRepository(ctx, dir, out); err != nil {
			return fmt.Errorf("repo: %w", err)
		}
	}
	if wants("drift") {
		if err := benchDrift(ctx, bin, dir, out); err != nil {
			return fmt.Errorf("drift: %w", err)
		}
	}
	if wants("scale") {
		if err := benchScale(ctx, bin, dir, nodes, perNode, out); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
	}
	if wants("apps") {
		if err := benchApplications(ctx, bin, dir, apps, out); err != nil {
			return fmt.Errorf("apps: %w", err)
		}
	}
	if wants("dns") {
		if err := benchDNS(ctx, bin, dir, peers, out); err != nil {
			return fmt.Errorf("dns: %w", err)
		}
	}
	if wants("services") {
		if err := benchServices(ctx, bin, dir, out); err != nil {
			return fmt.Errorf("services: %w", err)
		}
	}
	if wants("ingress") {
		if err := benchIngress(ctx, bin, dir, out); err != nil {
			return fmt.Errorf("ingress: %w", err)
		}
	}
	if wants("databases") {
		err := databases.Run(ctx, databases.Options{Dir: filepath.Join(dir, "databases"), Bin: bin, Cache: filepath.Join(".cache", "databases"), Rounds: rounds, Out: out})
		if err != nil {
			return fmt.Errorf("databases: %w", err)
		}
	}
	if !wants("push") && !wants("pods") && !wants("memory") && !wants("volumes") && !wants("soak") {
		return nil
	}
	begin := time.Now()
	c, err := cluster.Up(ctx, cluster.Options{Dir: filepath.Join(dir, "cluster"), Workers: 1, Bin: bin, Owned: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down()) }()
	fmt.Fprintf(out, "cluster from nothing to a Ready node: %s\n\n", time.Since(begin).Round(time.Millisecond))
	if wants("memory") {
		if err := benchMemory(ctx, c, idle, out); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	if wants("push") {
		if err := benchPush(ctx, c, dir, out); err != nil {
			return fmt.Errorf("push: %w", err)
		}
	}
	if wants("pods") {
		if err := benchPods(ctx, c, out); err != nil {
			return fmt.Errorf("pods: %w", err)
		}
	}
	if wants("volumes") {
		if err := benchVolumes(ctx, c, out); err != nil {
			return fmt.Errorf("volumes: %w", err)
		}
	}
	if wants("soak") {
		if err := benchSoak(ctx, c, cycles, out); err != nil {
			return fmt.Errorf("soak: %w", err)
		}
	}
	return nil
}
