package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/leftovers"
	"github.com/gitopsd/gitopsd/test/netns"
)

// soakSettles is how long what ended last may take to be gone from the host.
const soakSettles = time.Minute

// benchSoak makes and deletes Pods of all kinds, and fails if anything is left of them on the node.
func benchSoak(ctx context.Context, c *cluster.Cluster, cycles int, out io.Writer) error {
	kube, err := c.Client()
	if err != nil {
		return err
	}
	ns := "bench-soak"
	if _, err := kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	host := c.Workers()[0]
	dir := filepath.Join(c.Dir(), host.Name)
	node := leftovers.Node{
		Dir: dir, Logs: filepath.Join(dir, "logs"), Cgroup: c.Cgroup(host.Name),
		Do: func(f func() error) error { return netns.Do(netns.Path(host.NetNS), f) },
	}
	pid, err := c.PID(cluster.Node + "/" + host.Name)
	if err != nil {
		return err
	}
	if err := leftovers.Soak(ctx, kube, ns, "first", image, 10*leftovers.Kinds, 4); err != nil { // some things are made once
		return err
	}
	time.Sleep(soakSettles / 6)
	before, err := node.Take(ctx)
	if err != nil {
		return err
	}
	files, err := openFiles(pid)
	if err != nil {
		return err
	}
	rss, _, err := memory(pid)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := leftovers.Soak(ctx, kube, ns, "soak", image, cycles, 4); err != nil {
		return err
	}
	took := time.Since(begin)
	var left []string
	for end := time.Now().Add(soakSettles); ; time.Sleep(time.Second) {
		after, err := node.Take(ctx)
		if err != nil {
			return err
		}
		if left = after.Beyond(before); len(left) == 0 || time.Now().After(end) {
			break
		}
	}
	filesNow, err := openFiles(pid)
	if err != nil {
		return err
	}
	rssNow, _, err := memory(pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d Pods made and deleted in %s\n  things of the node on its host before: %d; left beyond those: %d\n  open files of the daemon: %d, then %d; resident memory: %d MB, then %d MB\n\n",
		cycles, took.Round(time.Second), len(before), len(left), files, filesNow, rss>>10, rssNow>>10)
	if len(left) > 0 {
		return fmt.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
	}
	return nil
}

func openFiles(pid int) (int, error) {
	list, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return len(list), err
}
