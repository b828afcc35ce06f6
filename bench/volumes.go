package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/test/cluster"
)

const (
	claimRounds = 30
	claimsBound = 1000
	diskRounds  = 5
	diskTime    = 1500 * time.Millisecond // of each kind of access, in each round
	diskFile    = 256 << 20
)

// volumeBench takes figures of volumes of the built-in class on the cluster's one node.
type volumeBench struct {
	c    *cluster.Cluster
	kube kubernetes.Interface
	ns   string
	out  io.Writer
}

// benchVolumes takes the time from a claim's creation to a Ready Pod with it, what the volume costs its readers and writers, and what 1,000 claims cost.
func benchVolumes(ctx context.Context, c *cluster.Cluster, out io.Writer) error {
	kube, err := c.Client()
	if err != nil {
		return err
	}
	b := &volumeBench{c: c, kube: kube, ns: "bench-volumes", out: out}
	if err := createNamespace(ctx, kube, b.ns); err != nil {
		return err
	}
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := b.access(ctx); err != nil {
		return err
	}
	return b.many(ctx)
}

func (b *volumeBench) claim(name, size string, annotations map[string]string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.ns, Name: name, Annotations: annotations},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
}

// start makes a claim and a Pod that uses it, and gives the times until the one is bound and the other Ready.
func (b *volumeBench) start(ctx context.Context, name, size string) (bound, ready time.Duration, err error) {
	pods, err := b.kube.CoreV1().Pods(b.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, 0, err
	}
	defer pods.Stop()
	claims, err := b.kube.CoreV1().PersistentVolumeClaims(b.ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, 0, err
	}
	defer claims.Stop()
	begin, grace := time.Now(), int64(1)
	if _, err := b.kube.CoreV1().PersistentVolumeClaims(b.ns).Create(ctx, b.claim(name, size, nil), metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	if _, err := b.kube.CoreV1().Pods(b.ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "web", Image: image, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
			Volumes:                       []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}},
		},
	}, metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	for deadline := time.After(roundTime); bound == 0 || ready == 0; {
		select {
		case e := <-claims.ResultChan():
			if claim, ok := e.Object.(*corev1.PersistentVolumeClaim); ok && claim.Status.Phase == corev1.ClaimBound && bound == 0 {
				bound = time.Since(begin)
			}
		case e := <-pods.ResultChan():
			if p, ok := e.Object.(*corev1.Pod); ok && podReady(p) && ready == 0 {
				ready = time.Since(begin)
			}
		case <-deadline:
			return 0, 0, fmt.Errorf("claim %s: neither bound nor used in time", name)
		}
	}
	return bound, ready, nil
}

// end deletes both and waits until the volume's data is gone.
func (b *volumeBench) end(ctx context.Context, name string) error {
	volumes, err := b.kube.CoreV1().PersistentVolumes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer volumes.Stop()
	if err := errors.Join(b.kube.CoreV1().Pods(b.ns).Delete(ctx, name, metav1.DeleteOptions{}), b.kube.CoreV1().PersistentVolumeClaims(b.ns).Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
		return err
	}
	for deadline := time.After(roundTime); ; {
		select {
		case e := <-volumes.ResultChan():
			if v, ok := e.Object.(*corev1.PersistentVolume); ok && e.Type == watch.Deleted && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Name == name {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("the volume of claim %s is still there", name)
		}
	}
}

func (b *volumeBench) ready(ctx context.Context) error {
	bound, ready := figure{name: "bound"}, figure{name: "Pod Ready"}
	for i := range claimRounds {
		name := fmt.Sprint("claim-", i)
		t, u, err := b.start(ctx, name, "1Gi")
		if err != nil {
			return err
		}
		bound.times, ready.times = append(bound.times, t), append(ready.times, u)
		if err := b.end(ctx, name); err != nil {
			return err
		}
	}
	return table(b.out, fmt.Sprintf("Claim of 1 GiB and its Pod created, to, %d times", claimRounds), []figure{bound, ready})
}

// access compares reading and writing on a volume with the directory that it is below of, in turns.
func (b *volumeBench) access(ctx context.Context) error {
	if _, _, err := b.start(ctx, "disk", "1Gi"); err != nil {
		return err
	}
	claim, err := b.kube.CoreV1().PersistentVolumeClaims(b.ns).Get(ctx, "disk", metav1.GetOptions{})
	if err != nil {
		return err
	}
	v, err := b.kube.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	at := v.Spec.Local.Path
	var self, below unix.Stat_t
	if err := errors.Join(unix.Stat(at, &self), unix.Stat(filepath.Dir(at), &below)); err != nil {
		return err
	}
	if self.Dev == below.Dev {
		return fmt.Errorf("%s is not mounted where this program sees it: there is nothing to compare", at)
	}
	got := map[string][2][]float64{}
	for range diskRounds {
		for i, dir := range []string{at, filepath.Dir(at)} {
			rates, err := measureDisk(filepath.Join(dir, "bench.dat"))
			if err != nil {
				return err
			}
			for kind, r := range rates {
				both := got[kind]
				both[i] = append(both[i], r)
				got[kind] = both
			}
		}
	}
	fmt.Fprintf(b.out, "On a volume and on the directory that it is below of, without the host's cache (O_DIRECT), medians of %d rounds in turns\n", diskRounds)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tvolume\tdirectory\tratio\t")
	for _, a := range accesses {
		volume, bare := median(got[a.name][0]), median(got[a.name][1])
		fmt.Fprintf(w, "%s\t%.0f %s\t%.0f %s\t%.2f\t\n", a.name, volume, a.unit, bare, a.unit, volume/bare)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(b.out)
	return b.end(ctx, "disk")
}

// access is a way to read or write a file.
type access struct {
	name, unit  string
	block       int
	write, rand bool
	sync        bool // each write is to be on the disk before the next
}

var accesses = []access{
	{name: "sequential write, 1 MiB", unit: "MiB/s", block: 1 << 20, write: true},
	{name: "sequential read, 1 MiB", unit: "MiB/s", block: 1 << 20},
	{name: "random write, 4 KiB", unit: "/s", block: 4 << 10, write: true, rand: true},
	{name: "random read, 4 KiB", unit: "/s", block: 4 << 10, rand: true},
	{name: "random write, 4 KiB, each synced", unit: "/s", block: 4 << 10, write: true, rand: true, sync: true},
}

// measureDisk makes a file and takes the rates of every kind of access to it.
func measureDisk(path string) (rates map[string]float64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	// Written once before it is measured: neither file system looks for free blocks any more.
	full, err := aligned(1 << 20)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(full)
	for at := int64(0); at < diskFile; at += int64(len(full)) {
		if _, err := f.WriteAt(full, at); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	rates = map[string]float64{}
	for _, a := range accesses {
		b, blocks, n, at := full[:a.block], int64(diskFile/a.block), 0, int64(0)
		begin := time.Now()
		for time.Since(begin) < diskTime {
			if at = (at + 1) % blocks; a.rand {
				at = rand.Int64N(blocks)
			}
			if a.write {
				_, err = f.WriteAt(b, at*int64(a.block))
			} else {
				_, err = f.ReadAt(b, at*int64(a.block))
			}
			if err == nil && a.sync {
				err = unix.Fdatasync(int(f.Fd()))
			}
			if err != nil {
				return nil, err
			}
			n++
		}
		if a.write {
			err = f.Sync()
		}
		if err != nil {
			return nil, err
		}
		rate := float64(n) / time.Since(begin).Seconds()
		if a.unit == "MiB/s" {
			rate *= float64(a.block) / (1 << 20)
		}
		rates[a.name] = rate
	}
	return rates, nil
}

// aligned is memory that may be read into and written from directly.
func aligned(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	for i := range b { // not zeros: a disk may make something of those
		b[i] = byte(i*7) ^ byte(uintptr(unsafe.Pointer(&b[0]))>>12)
	}
	return b, nil
}

// many has 1,000 claims be bound, to the node that their annotation chooses as the scheduler would: what is measured is the control plane.
func (b *volumeBench) many(ctx context.Context) error {
	before, err := b.writes(ctx)
	if err != nil {
		return err
	}
	w, err := b.kube.CoreV1().PersistentVolumeClaims(b.ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	node := map[string]string{volume.AnnSelectedNode: b.c.Workers()[0].Name}
	begin, failed := time.Now(), make(chan error, 1)
	go func() {
		for i := range claimsBound {
			if _, err := b.kube.CoreV1().PersistentVolumeClaims(b.ns).Create(ctx, b.claim(fmt.Sprint("many-", i), "2Mi", node), metav1.CreateOptions{}); err != nil {
				failed <- err
				return
			}
		}
	}()
	bound := map[string]bool{}
	for deadline := time.After(5 * roundTime); len(bound) < claimsBound; {
		select {
		case e := <-w.ResultChan():
			if claim, ok := e.Object.(*corev1.PersistentVolumeClaim); ok && claim.Status.Phase == corev1.ClaimBound {
				bound[claim.Name] = true
			}
		case err := <-failed:
			return err
		case <-deadline:
			return fmt.Errorf("%d of %d claims were bound in time", len(bound), claimsBound)
		}
	}
	took := time.Since(begin)
	after, err := b.writes(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d claims of one client, one after the other, created and bound (provisioner %s): %s, %.1f ms each\nwrites to the API for each claim:", claimsBound, pv.Provisioner, took.Round(10*time.Millisecond), float64(took.Milliseconds())/claimsBound)
	var total float64
	for kind, n := range after {
		if each := float64(n-before[kind]) / claimsBound; each >= 0.1 {
			fmt.Fprintf(b.out, " %s %.1f,", strings.TrimSpace(kind), each)
			total += each
		}
	}
	fmt.Fprintf(b.out, " together %.1f\n\n", total)
	return b.kube.CoreV1().PersistentVolumeClaims(b.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

func (b *volumeBench) writes(ctx context.Context) (map[string]int64, error) {
	body, err := b.kube.Discovery().RESTClient().Get().AbsPath("/metrics").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return writesIn(body)
}
