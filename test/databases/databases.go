package databases

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/netns"
)

//go:embed repo
var repo embed.FS

const (
	namespace    = "databases"
	postgresPort = 30432
	redisPort    = 30379
	// comesBack bounds the time after a fault until both databases take writes again.
	comesBack = 120 * time.Second
	// firstStart bounds the time until they do for the first time: images are loaded, a database is made.
	firstStart = 2 * time.Minute
	// GracePeriod is how long a worker may be silent: workers speak every 10 seconds.
	gracePeriod = "15s"
)

// names of the databases, of their StatefulSets, and with "-0" of their Pods.
var names = []string{"postgres", "redis"}

// Options say how to hurt the databases.
type Options struct {
	Dir    string // of the cluster, and of what is noted outside of it
	Bin    string // folder of the programs
	Cache  string // folder in which the image is kept
	Rounds int
	Only   []string // names of faults; empty for all
	Out    io.Writer
}

// run is a cluster with the two databases and their writers.
type run struct {
	*cluster.Cluster
	api     kubernetes.Interface
	bin     string
	dir     string
	round   int
	writers []*writer
}

// Run makes a cluster, hurts it, and removes it.
func Run(ctx context.Context, o Options) (err error) {
	archive, err := Archive(ctx, o.Cache)
	if err != nil {
		return fmt.Errorf("making the image of the databases: %w", err)
	}
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return err
	}
	source := filepath.Join(o.Dir, "source")
	from, err := fs.Sub(repo, "repo")
	if err != nil {
		return err
	}
	if err := os.CopyFS(source, from); err != nil {
		return err
	}
	up, cancel := context.WithTimeout(ctx, firstStart)
	defer cancel()
	c, err := cluster.Up(up, cluster.Options{
		Dir: filepath.Join(o.Dir, "cluster"), Workers: 2, Bin: o.Bin, Owned: true, Repo: source, Images: filepath.Dir(archive), Serve: []string{"--node-monitor-grace-period", gracePeriod},
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.CopyFS(filepath.Join(o.Dir, "logs"), os.DirFS(filepath.Join(c.Dir(), "logs"))))
		}
		err = errors.Join(err, c.Down())
	}()
	r := &run{Cluster: c, bin: o.Bin, dir: o.Dir}
	if r.api, err = c.Client(); err != nil {
		return err
	}
	p, err := newWriter(names[0], o.Dir, postgres{r.dialer(postgresPort)})
	if err != nil {
		return err
	}
	k, err := newWriter(names[1], o.Dir, keyValue{r.dialer(redisPort)})
	if err != nil {
		return err
	}
	r.writers = []*writer{p, k}
	return r.hurt(ctx, o)
}

// hurt has the writers write while one fault follows another.
func (r *run) hurt(ctx context.Context, o Options) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel(nil)
	for _, w := range r.writers {
		writing.Go(func() {
			if err := w.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if err := r.works(ctx, firstStart); err != nil {
		return err
	}
	times := map[string][]time.Duration{}
	for r.round = range o.Rounds {
		if err := r.backUp(ctx); err != nil {
			return fmt.Errorf("round %d: %w", r.round+1, err)
		}
		for _, f := range faults {
			if !wanted(f.name, o.Only) {
				continue
			}
			begin := time.Now()
			if err := f.strike(r, ctx); err != nil {
				return fmt.Errorf("round %d: %s: %w", r.round+1, f.name, err)
			}
			if err := r.works(ctx, comesBack); err != nil {
				return fmt.Errorf("round %d: after %s: %w", r.round+1, f.name, err)
			}
			took := time.Since(begin)
			times[f.name] = append(times[f.name], took)
			line := fmt.Sprintf("round %d: %s: both take writes after %s", r.round+1, f.name, took.Round(10*time.Millisecond))
			for _, w := range r.writers {
				n, err := r.check(ctx, w)
				if err != nil {
					return fmt.Errorf("round %d: after %s: %w", r.round+1, f.name, err)
				}
				line += fmt.Sprintf(", %s has all of %d", w.name, n)
			}
			if _, err := fmt.Fprintln(o.Out, line); err != nil {
				return err
			}
		}
	}
	return r.tell(o.Out, times)
}

// tell sums up.
func (r *run) tell(out io.Writer, times map[string][]time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nfault\ttimes\tboth take writes again: median\tlongest\t")
	for _, f := range faults {
		if t := times[f.name]; len(t) > 0 {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t\n", f.name, len(t), median(t).Round(10*time.Millisecond), longest(t).Round(10*time.Millisecond))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, d := range r.writers {
		fmt.Fprintf(out, "%s: %d writes acknowledged, none lost\n", d.name, d.written.Load())
	}
	return nil
}

// works waits until both databases take writes.
func (r *run) works(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, w := range r.writers {
		if err := w.works(ctx); err != nil {
			return errors.Join(err, r.explain())
		}
	}
	return nil
}

func (r *run) check(ctx context.Context, w *writer) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, comesBack)
	defer cancel()
	return w.check(ctx)
}

// explain is what the cluster says of the databases, for who has to find out why they do not work.
func (r *run) explain() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []string
	for _, args := range [][]string{{"get", "nodes,pods,pvc,pv", "-A", "-o", "wide"}, {"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", namespace, "--tail=12", names[0] + "-0"}, {"logs", "-n", namespace, "--tail=12", names[1] + "-0"},
	} {
		out, err := r.Output(ctx, filepath.Join(r.bin, "gitopsd"), append([]string{"kubectl"}, args...)...)
		all = append(all, out)
		if err != nil {
			all = append(all, err.Error())
		}
	}
	return errors.New(strings.Join(all, "\n"))
}

// dialer reaches a node port by way of any worker that answers.
func (r *run) dialer(port int) dial {
	from := netns.Dialer(netns.Path(r.NetNS()))
	return func(ctx context.Context) (net.Conn, error) {
		var all error
		for _, h := range r.Workers() {
			ctx, cancel := context.WithTimeout(ctx, callTime/2)
			c, err := from(ctx, "tcp", net.JoinHostPort(h.IP, strconv.Itoa(port)))
			cancel()
			if err == nil {
				return c, nil
			}
			all = errors.Join(all, err)
		}
		return nil, all
	}
}

// pod is a database's, once it is there and has a node.
func (r *run) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	p, err := r.api.CoreV1().Pods(namespace).Get(ctx, name+"-0", metav1.GetOptions{})
	if err == nil && p.Spec.NodeName == "" {
		err = fmt.Errorf("Pod %s has no node", p.Name)
	}
	return p, err
}
