package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

func startOnce(ctx context.Context, bin, data string) (took time.Duration, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, err
	}
	var log strings.Builder
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "gitopsd"), "serve", "--data-dir", data, "--bind-address", "127.0.0.1", "--https-port", strconv.Itoa(port))
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
		if werr := cmd.Wait(); err != nil || werr != nil {
			err = errors.Join(err, werr, errors.New(log.String()))
		}
	}()
	// The certificate is one that this process has just made; health is the same for everybody.
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec
	deadline := start.Add(roundTime)
	for {
		resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/readyz", port))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(start), nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return 0, fmt.Errorf("not ready after %s: %w", roundTime, err)
		}
		time.Sleep(2 * time.Millisecond) // there is no event for "a port answers"
	}
}

func trust(ca []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the kubeconfig has no certificate authority")
	}
	return pool, nil
}
