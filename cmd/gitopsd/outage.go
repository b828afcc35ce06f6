package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/source"
)

// outage gathers what can be known while the control plane does not answer.
func (c *connection) outage(config *rest.Config, err error) cli.Outage {
	o := cli.Outage{Server: config.Host, Kubeconfig: cmp.Or(c.kubeconfig, os.Getenv(clientcmd.RecommendedConfigPathEnvVar)), Problem: problem(err)}
	dir := controlPlaneDir(c.dataDir)
	if o.Kubeconfig == "" {
		o.Kubeconfig = adminKubeconfig(dir)
	}
	pid, lerr := os.ReadFile(filepath.Join(dir, "lock"))
	if lerr != nil {
		o.Next = "look at gitopsd serve on the control plane's machine, and at the way there: the rest can be told from its data directory (--data-dir)"
		return o
	}
	o.DataDir = dir
	o.Process, o.Next = processOf(dir, strings.TrimSpace(string(pid)))
	for _, s := range source.ListStores(filepath.Join(dir, "git")) {
		o.Repos = append(o.Repos, cli.KnownRepo{URL: s.URL, Commit: s.Commit, Fetched: s.Fetched})
	}
	return o
}

// processOf says what runs in a data directory, by the process that its lock names, and what to do.
func processOf(dir, pid string) (process, next string) {
	n, err := strconv.Atoi(pid)
	if err == nil {
		// proc_pid_cmdline(5): the arguments end with a zero byte each.
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n))
		if program, _, _ := strings.Cut(string(text), "\x00"); err == nil && strings.HasPrefix(filepath.Base(program), "gitopsd") {
			return "process " + pid + " runs, and does not answer under this address", "wait if it has just started; otherwise look at its log"
		}
	}
	return "gitopsd serve does not run", "start it again: gitopsd serve --data-dir " + dir + " (or gitopsd up, if that is how it ran); it takes up where it was"
}

// problem is the cause without the request that it was found with.
func problem(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	if cause := errors.Unwrap(err); cause != nil {
		return cause.Error()
	}
	return err.Error()
}
