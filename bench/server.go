package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// controlPlane is a gitopsd of its own on the loopback interface: the whole of `gitopsd serve` with its etcd, and no node.
type controlPlane struct {
	cmd    *exec.Cmd
	log    *strings.Builder
	config *rest.Config
	// took is the time from exec to a /readyz that answered 200.
	took time.Duration
}

// startControlPlane starts one on the data directory and returns when it is ready.
func startControlPlane(ctx context.Context, bin, data string, flags ...string) (_ *controlPlane, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	p := &controlPlane{log: &strings.Builder{}}
	p.cmd = exec.CommandContext(ctx, filepath.Join(bin, "gitopsd"), append([]string{"serve", "--data-dir", data, "--bind-address", "127.0.0.1", "--https-port", strconv.Itoa(port)}, flags...)...)
	p.cmd.Stderr = p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop(), errors.New(p.log.String()))
		}
	}()
	if err := awaitReady(ctx, fmt.Sprintf("https://127.0.0.1:%d/readyz", port), start.Add(roundTime)); err != nil {
		return nil, err
	}
	p.took = time.Since(start)
	if p.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(data, "admin.kubeconfig")); err != nil {
		return nil, err
	}
	p.config.QPS = -1
	return p, nil
}

func awaitReady(ctx context.Context, url string, deadline time.Time) error {
	// The certificate is one that the process has just made; health is the same for everybody.
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec
	for {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("not ready after %s: %w", roundTime, err)
		}
		time.Sleep(2 * time.Millisecond) // there is no event for "a port answers"
	}
}

// stop ends it as an administrator would.
func (p *controlPlane) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// client returns a client with a connection of its own, so that many are as many as they seem to be.
func (p *controlPlane) client(contentType string) (kubernetes.Interface, error) {
	c := rest.CopyConfig(p.config)
	c.ContentType = contentType
	if contentType == runtime.ContentTypeProtobuf {
		c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	// client-go shares connections between configurations that are equal; two functions never are.
	c.Dial = (&net.Dialer{}).DialContext
	return kubernetes.NewForConfig(c)
}

func (p *controlPlane) processorTime() (time.Duration, error) {
	return processorTime(p.cmd.Process.Pid)
}

// processorTime is what a process has used so far, in user and kernel mode (proc_pid_stat(5), fields 14 and 15).
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("stat of process %d: %q", pid, text)
	}
	var ticks int64
	for _, t := range f[11:13] {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// clockTicks is how many of the kernel's units for processor time a second has; Linux shows 100 on every architecture.
const clockTicks = 100
