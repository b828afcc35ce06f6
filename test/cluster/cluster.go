package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/images"
)

// Options say what a cluster is made of.
type Options struct {
	// Dir is where everything is kept; made if missing, and otherwise without a cluster in it.
	Dir string `json:"dir"`
	// Workers is the number of nodes.
	Workers int `json:"workers"`
	// Bin is the folder of the programs gitopsd, node, localcluster and web.
	Bin string `json:"bin"`
	// Repo is a folder whose content is the first commit of the Git repository; left empty, that holds only an empty folder "deploy".
	Repo string `json:"repo,omitempty"`
	// Images is a folder of archives that every node loads, beside those of the demo.
	Images string `json:"images,omitempty"`
	// MirrorPort, unless zero, is a port of the outer namespace where nodes look first for any image, by plain HTTP.
	MirrorPort int `json:"mirrorPort,omitempty"`
	// Serve and Node are further arguments of "gitopsd serve" and of every "node".
	Serve []string `json:"serve,omitempty"`
	Node  []string `json:"node,omitempty"`
	// Owned ties the cluster to the process that calls Up: once that has ended, CleanHost takes what is left for a leftover.
	Owned bool `json:"owned,omitempty"`
}

// Cluster is a cluster on this machine. Methods may be called from any goroutine.
type Cluster struct {
	mu  sync.Mutex // guards rec.Processes
	rec record
}

// Up makes a cluster and returns when all its nodes are Ready. When it fails it removes what it made, but for the logs.
func Up(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Workers < 0 || o.Workers > maxWorkers {
		return nil, fmt.Errorf("%d workers: want 0 to %d", o.Workers, maxWorkers)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a cluster of network namespaces needs root")
	}
	for _, path := range []*string{&o.Dir, &o.Bin, &o.Repo, &o.Images} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"gitopsd", "node", "localcluster", "web"} {
		if _, err := os.Stat(filepath.Join(o.Bin, name)); err != nil {
			return nil, fmt.Errorf("%w: build it first with: make build", err)
		}
	}
	c, err := create(o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove(keepLogs))
		}
	}()
	if err := c.wire(); err != nil {
		return nil, err
	}
	if err := c.layImages(); err != nil {
		return nil, err
	}
	if err := c.Start(Git); err != nil {
		return nil, err
	}
	if err := c.firstCommit(ctx); err != nil {
		return nil, err
	}
	if err := c.Start(Gitopsd); err != nil {
		return nil, err
	}
	if err := c.APIReady(ctx); err != nil {
		return nil, err
	}
	if err := c.writeEnv(); err != nil {
		return nil, err
	}
	for _, h := range c.Workers() {
		if err := c.Start(Node + "/" + h.Name); err != nil {
			return nil, err
		}
	}
	if err := c.nodesReady(ctx); err != nil {
		return nil, err
	}
	if !o.Owned {
		c.rec.Owner = nil
	}
	return c, c.rec.save()
}

// create records the cluster and makes its folders.
func create(o Options) (*Cluster, error) {
	id := make([]byte, 3)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	self, _ := processOf(os.Getpid())
	c := &Cluster{rec: record{ID: hex.EncodeToString(id), Dir: o.Dir, Owner: &self, Processes: map[string]Process{}, Options: o}}
	c.rec.Hosts = append(c.rec.Hosts, Host{Name: "cp", NetNS: c.rec.outer() + "-cp", IP: controlPlaneIP})
	for n := 1; n <= o.Workers; n++ {
		name := fmt.Sprint("w", n)
		c.rec.Hosts = append(c.rec.Hosts, Host{Name: name, NetNS: c.rec.outer() + "-" + name, IP: workerIP(n)})
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(c.idFile()); err == nil {
		return nil, fmt.Errorf("%s holds a cluster already: remove it first with: make cluster-down DIR=%s", o.Dir, o.Dir)
	}
	// Root of a Pod with user IDs of its own has to get through.
	if err := os.MkdirAll(filepath.Dir(c.rec.short()), 0o711); err != nil {
		return nil, err
	}
	if err := c.rec.save(); err != nil {
		return nil, err
	}
	// Two symbolic links: from the folder to the record, and from the short path to the folder.
	if err := os.Symlink(filepath.Dir(c.rec.short()), c.idFile()); err != nil {
		return nil, err
	}
	if err := os.Symlink(o.Dir, c.rec.short()); err != nil {
		return nil, err
	}
	for _, dir := range c.folders() {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// idFile is a symbolic link in the cluster's folder to its record.
func (c *Cluster) idFile() string { return filepath.Join(c.rec.Dir, "cluster") }

// folders are those of the cluster's folder that are the cluster's.
func (c *Cluster) folders() []string {
	list := []string{"logs", "git", "worktree", "images"}
	for _, h := range c.rec.Hosts {
		list = append(list, h.Name)
	}
	return list
}

// Open finds the cluster that an earlier Up made in dir.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	link, err := os.Readlink(filepath.Join(dir, "cluster"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	rec, err := loadRecord(filepath.Base(link))
	if err != nil {
		return nil, fmt.Errorf("the cluster in %s has no record: clear up with: make clean-host: %w", dir, err)
	}
	return &Cluster{rec: rec}, nil
}

// layImages puts every archive where the nodes look for images when they start.
func (c *Cluster) layImages() error {
	web := map[string]v1.Image{}
	for _, version := range []string{"v1", "v2"} {
		img, err := images.New(filepath.Join(c.rec.Options.Bin, "web"), version)
		if err != nil {
			return err
		}
		web[images.Web+":"+version] = img
	}
	own := filepath.Join(c.rec.Dir, "images", "web.tar")
	if err := images.Save(own, web); err != nil {
		return err
	}
	archives := []string{own}
	if c.rec.Options.Images != "" {
		more, err := filepath.Glob(filepath.Join(c.rec.Options.Images, "*.tar"))
		if err != nil {
			return err
		}
		if len(more) == 0 {
			return fmt.Errorf("%s holds no archive *.tar", c.rec.Options.Images)
		}
		archives = append(archives, more...)
	}
	for _, h := range c.Workers() {
		dir := filepath.Join(c.rec.Dir, h.Name, "images")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, a := range archives {
			if err := os.Symlink(a, filepath.Join(dir, filepath.Base(a))); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeEnv writes what a shell needs to work with the cluster.
func (c *Cluster) writeEnv() error {
	var ips []string
	for _, h := range c.Workers() {
		ips = append(ips, h.IP)
	}
	text := fmt.Sprintf(`# To be sourced. From inside the namespace: ip netns exec $CLUSTER_NETNS kubectl get nodes
export KUBECONFIG='%s'
export CLUSTER_NETNS='%s'
export NODE_IPS='%s'
export GIT_URL='%s'
export WORKTREE='%s'
export NO_PROXY='*' no_proxy='*'
`, c.Kubeconfig(), c.rec.outer(), strings.Join(ips, " "), c.GitURL(), c.Worktree())
	return os.WriteFile(filepath.Join(c.rec.Dir, "env"), []byte(text), 0o644)
}

// Kubeconfig is the administrator's kubeconfig; its server is reached from inside the outer namespace.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.rec.Dir, "cp", "admin.kubeconfig") }

// NetNS is the name of the outer namespace.
func (c *Cluster) NetNS() string { return c.rec.outer() }

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.rec.Dir }

// Workers are the hosts that run Pods.
func (c *Cluster) Workers() []Host { return c.rec.Hosts[1:] }

// Host finds a host by its name.
func (c *Cluster) Host(name string) (Host, error) {
	for _, h := range c.rec.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("no host %q in this cluster", name)
}

// nodesReady waits until every worker is a Node that is Ready.
func (c *Cluster) nodesReady(ctx context.Context) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	return until(ctx, "the nodes to be Ready (see "+filepath.Join(c.rec.Dir, "logs")+")", func() error {
		for _, h := range c.Workers() {
			if !c.Running(Node + "/" + h.Name) {
				return fmt.Errorf("node %s: %w", h.Name, errNotRunning)
			}
			n, err := client.CoreV1().Nodes().Get(ctx, h.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !NodeIsReady(n) {
				return fmt.Errorf("node %s is not Ready", h.Name)
			}
		}
		return nil
	})
}

// LookPath fails with the remedy when a program that a cluster needs is missing.
func LookPath(name, debianPackage string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%w: install it with: apt-get install %s", err, debianPackage)
	}
	return nil
}
