package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/kubelet/inspect"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

const statusUsage = `Usage: node status [flags]

Print which Pods run on this host, from what the node itself knows. Neither the control plane nor the node daemon is
needed.
`

// containerdPatience is how long a containerd is waited for that may not be there.
const containerdPatience = 2 * time.Second

// status prints what runs here.
func status(ctx context.Context, args []string) error {
	cfg := kubelet.Defaults()
	f := pflag.NewFlagSet("node status", pflag.ContinueOnError)
	localFlags(f, &cfg)
	output := f.StringP("output", "o", "table", "table, wide (with containers) or json")
	if err := parse(f, statusUsage, args); err != nil {
		return err
	}
	if *output != "table" && *output != "wide" && *output != "json" {
		return fmt.Errorf("--output %q: must be table, wide or json", *output)
	}
	dir, r, done, err := local(cfg)
	if err != nil {
		return err
	}
	defer done()
	st, err := inspect.Read(ctx, dir, r, containerdPatience)
	if err != nil && st.DataDir == "" {
		return err
	}
	if *output == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		if jerr := e.Encode(st); jerr != nil {
			return jerr
		}
		return err
	}
	printStatus(os.Stdout, &st, *output == "wide", time.Now())
	return err
}

// localFlags are those that name the node of this host.
func localFlags(f *pflag.FlagSet, cfg *kubelet.Config) {
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "the node's --data-dir")
	f.StringVar(&cfg.Containerd, "containerd-address", "", "the node's --containerd-address")
}

// local prepares to talk to the containerd of the node that the flags name.
func local(cfg kubelet.Config) (dir string, r *runtime.Runtime, done func(), err error) {
	if dir, err = filepath.Abs(cfg.DataDir); err != nil {
		return "", nil, nil, fmt.Errorf("--data-dir: %w", err)
	}
	pipes, err := os.MkdirTemp("", "node")
	if err != nil {
		return "", nil, nil, err
	}
	address := cfg.Containerd
	if address == "" {
		address = runtime.NewDaemon(filepath.Join(dir, "containerd")).Address()
	}
	if r, err = runtime.Connect(address, pipes, filepath.Join(dir, "roots")); err != nil {
		os.RemoveAll(pipes)
		return "", nil, nil, err
	}
	return dir, r, func() {
		r.Client.Close()
		os.RemoveAll(pipes)
	}, nil
}

func printStatus(out io.Writer, st *inspect.Status, wide bool, now time.Time) {
	daemon, containerd := "does not run; containers run on", "does not answer; what is told of containers is what was known last"
	if st.Daemon {
		daemon = "runs"
	}
	if st.Containerd != "" {
		containerd = st.Containerd
	}
	fmt.Fprintf(out, "data directory  %s\nnode daemon     %s\ncontainerd      %s\n", st.DataDir, daemon, containerd)
	if len(st.Unknown) > 0 {
		fmt.Fprintf(out, "%d containers are of Pods that nobody knows of; the daemon removes them when it starts\n", len(st.Unknown))
	}
	if len(st.Pods) == 0 {
		fmt.Fprintln(out, "no Pods")
		return
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tNAME\tREADY\tSTATUS\tRESTARTS\tAGE\tIP")
	for i := range st.Pods {
		p := &st.Pods[i]
		ready, all := p.Ready()
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%s\t%d\t%s\t%s\n", p.Namespace, p.Name, ready, all, p.Word(), p.Restarts(), age(p.Created, now), strings.Join(p.IPs, ","))
		if !wide {
			continue
		}
		for _, c := range p.Containers {
			fmt.Fprintf(w, "\t  %s\t\t%s\t%d\t%s\t%s\n", c.Name, c.State, c.Restarts, age(c.Since, now), c.Image)
		}
	}
	w.Flush()
}

func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(now.Sub(t))
}
