package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/test/cluster"
)

const starts = 10

// benchMemory reads what the programs hold after the cluster has rested.
func benchMemory(ctx context.Context, c *cluster.Cluster, idle time.Duration, out io.Writer) error {
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintf(out, "resident memory after %s of rest\n", idle)
	for _, component := range []string{cluster.Gitopsd, cluster.Node + "/" + c.Workers()[0].Name} {
		pid, err := c.PID(component)
		if err != nil {
			return err
		}
		rss, anon, err := memory(pid)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %-10s %4d MB, of which %d MB anonymous\n", component, rss>>10, anon>>10)
	}
	_, err := fmt.Fprintln(out)
	return err
}

// memory returns the resident and the anonymous memory of a process in KiB (proc_pid_status(5)).
func memory(pid int) (rss, anon int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "VmRSS:":
			rss, err = strconv.Atoi(f[1])
		case "RssAnon:":
			anon, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return rss, anon, nil
}

// benchStart takes the time from exec to a /readyz that answers 200, on an empty and on an existing data directory.
func benchStart(ctx context.Context, bin, dir string, out io.Writer) error {
	cold, warm := figure{name: "cold (empty data directory)"}, figure{name: "warm"}
	for i := range starts {
		data := filepath.Join(dir, fmt.Sprint("start-", i))
		for _, f := range []*figure{&cold, &warm} {
			d, err := startOnce(ctx, bin, data)
			if err != nil {
				return err
			}
			f.times = append(f.times, d)
		}
	}
	return table(out, fmt.Sprintf("gitopsd start to /readyz, %d starts", starts), []figure{cold, warm})
}

func startOnce(ctx context.Context, bin, data string) (time.Duration, error) {
	p, err := startControlPlane(ctx, bin, data)
	if err != nil {
		return 0, err
	}
	return p.took, p.stop()
}

// settles is when a control plane has given back what only its start needed; memory is read after it.
const settles = 25 * time.Second

// rest waits until the control plane has settled, and prints its memory and the processor time that it uses while nobody asks for anything.
func (p *controlPlane) rest(ctx context.Context, out io.Writer, when string) error {
	var used [2]time.Duration
	for i, wait := range []time.Duration{settles, 5 * time.Second} {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		if used[i], err = p.processorTime(); err != nil {
			return err
		}
	}
	return p.memory(out, fmt.Sprintf("%s (%.1f%% of a core)", when, 100*(used[1]-used[0]).Seconds()/5))
}

func (p *controlPlane) memory(out io.Writer, when string) error {
	rss, anon, err := memory(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "resident memory, %s: %d MB, of which %d MB anonymous\n", when, rss>>10, anon>>10)
	return err
}

func trust(ca []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the kubeconfig has no certificate authority")
	}
	return pool, nil
}
