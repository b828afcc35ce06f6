package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

var (
	theShop *shop.Shop
	bin     string
)

// gracePeriod is how long a worker may be silent: workers speak every 10 seconds.
const gracePeriod = "15s"

// mirrorPort is where nodes look for images that they do not have; only one test answers there.
const mirrorPort = 5050

func TestMain(m *testing.M) {
	flag.Parse()
	for _, missing := range []error{needRoot(), cluster.LookPath("containerd", "containerd"), cluster.LookPath("runc", "runc"),
		cluster.LookPath("iptables", "iptables"), cluster.LookPath("git", "git")} {
		if missing != nil {
			fmt.Fprintln(os.Stderr, "SKIPPED: all end-to-end tests:", missing)
			os.Exit(0)
		}
	}
	if testing.Short() {
		fmt.Fprintln(os.Stderr, "SKIPPED: all end-to-end tests: -short")
		os.Exit(0)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("they need root to make network namespaces")
	}
	return nil
}

// run makes the programs and the cluster, runs the tests, and removes both.
func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "gitopsd-e2e-")
	if err != nil {
		return 1, err
	}
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-trimpath", "-tags=killpoints", "-ldflags=-X k8s.io/component-base/version.gitVersion=v1.37.2+e2e", "-o", bin+"/",
		"./cmd/gitopsd", "./cmd/node", "./test/localcluster", "./test/images/web", "./test/operator")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := cluster.Up(ctx, cluster.Options{
		Dir: filepath.Join(dir, "cluster"), Workers: 2, Bin: bin, Owned: true,
		Repo:  filepath.Join("..", "..", "example-repo"),
		Serve: []string{"--node-monitor-grace-period", gracePeriod}, MirrorPort: mirrorPort,
	})
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(bin))
	}
	defer func() {
		if code != 0 {
			saved := dir + "-logs"
			fmt.Fprintln(os.Stderr, "logs of all processes:", saved)
			err = errors.Join(err, os.CopyFS(saved, os.DirFS(filepath.Join(c.Dir(), "logs"))))
		}
		err = errors.Join(err, c.Down(), os.RemoveAll(dir))
	}()
	if theShop, err = shop.Open(c); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// begin brings the shop to its first release and returns a context that ends with the test's time.
func begin(t *testing.T) (context.Context, *shop.Shop) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	release(t, ctx, "v1", 3)
	if err := theShop.Open(ctx); err != nil {
		t.Fatal(err)
	}
	head, err := theShop.Git(ctx, "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	_, err = theShop.Applied(ctx, "be in sync with the last commit", func(a shop.Application) bool {
		return a.Status.AppliedRevision == head && a.Status.Sync == "Synced"
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx, theShop
}

// afterwards is the context of what cleans up after a test, whose own has ended by then.
func afterwards(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// release pushes a version unless it is the one that is wanted already, and waits until it is out.
func release(t *testing.T, ctx context.Context, version string, replicas int32) {
	t.Helper()
	if _, err := theShop.Release(ctx, version, int(replicas)); err != nil && !errors.Is(err, cluster.ErrNothingToCommit) {
		t.Fatal(err)
	}
	if err := theShop.Deployed(ctx, version, replicas); err != nil {
		t.Fatal(err)
	}
}

// bystander is a Pod on one worker that has nothing to do with what is tested, and must not notice it.
type bystander struct {
	name  string
	start corev1.Pod
}

// bystanders starts one on each worker.
func bystanders(t *testing.T, ctx context.Context) []bystander {
	t.Helper()
	var out []bystander
	pods := theShop.API.CoreV1().Pods(shop.Namespace)
	for _, h := range theShop.Workers() {
		b := bystander{name: "bystander-" + h.Name}
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: b.name},
			Spec: corev1.PodSpec{
				NodeName:                      h.Name,
				TerminationGracePeriodSeconds: new(int64),
				Containers:                    []corev1.Container{{Name: "web", Image: images.Web + ":v1"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := afterwards(t)
			if err := pods.Delete(ctx, b.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
			if err := theShop.PodGone(ctx, b.name); err != nil {
				t.Error(err)
			}
		})
		if err := theShop.Pod(ctx, b.name, "become ready", shop.Ready); err != nil {
			t.Fatal(err)
		}
		p, err := pods.Get(ctx, b.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.start = *p
		out = append(out, b)
	}
	return out
}

// unharmed checks that a bystander is ready, still the same container, at the same address.
func (b bystander) unharmed(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := theShop.Pod(ctx, b.name, "be ready", shop.Ready); err != nil {
		t.Error(err)
		return
	}
	now, err := theShop.API.CoreV1().Pods(shop.Namespace).Get(ctx, b.name, metav1.GetOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	type identity struct {
		UID, IP, Container string
		Restarts           int32
	}
	of := func(p *corev1.Pod) identity {
		i := identity{UID: string(p.UID), IP: p.Status.PodIP}
		for _, c := range p.Status.ContainerStatuses {
			i.Container, i.Restarts = c.ContainerID, c.RestartCount
		}
		return i
	}
	if was, is := of(&b.start), of(now); was != is {
		t.Errorf("%s was %+v and is %+v", b.name, was, is)
	}
}

// names lists Pods' names.
func names(pods []corev1.Pod) []string {
	var out []string
	for i := range pods {
		out = append(out, pods[i].Name)
	}
	slices.Sort(out)
	return out
}
