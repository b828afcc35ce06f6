package leftovers

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// cycleTime is how long one Pod may take to come and go.
const cycleTime = 2 * time.Minute

// Kinds is how many kinds of Pods Soak takes turns with.
var Kinds = len(kinds)

// kinds change a plain Pod, so that all that a Pod can have on a host comes and goes. gone has it deleted without waiting for it.
var kinds = []struct {
	name string
	gone bool
	set  func(s *v1.PodSpec, i int)
}{
	{name: "plain", set: func(*v1.PodSpec, int) {}},
	{name: "volumes", set: func(s *v1.PodSpec, _ int) {
		size := resource.MustParse("1Mi")
		s.Volumes = []v1.Volume{
			{Name: "disk", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: &size}}},
			{Name: "about", VolumeSource: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{
				{Path: "name", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.name"}},
			}}}},
		}
		s.Containers[0].VolumeMounts = []v1.VolumeMount{
			{Name: "disk", MountPath: "/disk", SubPath: "below"}, {Name: "memory", MountPath: "/memory"}, {Name: "about", MountPath: "/about"},
		}
	}},
	{name: "shared-pid", set: func(s *v1.PodSpec, _ int) {
		shared := true
		s.ShareProcessNamespace = &shared
		second := s.Containers[0]
		second.Name = "second"
		second.Command = []string{"/there/is/no/such/program"}
		s.Containers = append(s.Containers, second)
	}},
	{name: "host-port", set: func(s *v1.PodSpec, i int) {
		s.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 80, HostPort: int32(20000 + i%1000)}}
	}},
	{name: "host-network", set: func(s *v1.PodSpec, _ int) { s.HostNetwork, s.HostIPC = true, true }},
	{name: "no-program", set: func(s *v1.PodSpec, _ int) { s.Containers[0].Command = []string{"/there/is/no/such/program"} }},
	{name: "no-image", set: func(s *v1.PodSpec, _ int) {
		s.Containers[0].Image, s.Containers[0].ImagePullPolicy = "registry.example/there-is-none:1", v1.PullNever
	}},
	{name: "in-a-hurry", gone: true, set: func(*v1.PodSpec, int) {}},
}

// Soak makes and deletes Pods, some at once, and returns when the API has none of them any more. Names begin with prefix.
func Soak(ctx context.Context, kube kubernetes.Interface, namespace, prefix, image string, cycles, atOnce int) error {
	var next atomic.Int64
	var g errgroup.Group
	for range atOnce {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= cycles {
					return nil
				}
				if err := cycle(ctx, kube, namespace, prefix, image, i); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func cycle(ctx context.Context, kube kubernetes.Interface, namespace, prefix, image string, i int) error {
	ctx, cancel := context.WithTimeout(ctx, cycleTime)
	defer cancel()
	kind, grace := kinds[i%len(kinds)], int64(i/len(kinds)%2) // every other one by force
	name := fmt.Sprintf("%s-%d-%s", prefix, i, kind.name)
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []v1.Container{{Name: "c", Image: image}}},
	}
	kind.set(&pod.Spec, i)
	pods := kube.CoreV1().Pods(namespace)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	for last := pod; !kind.gone; {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("Pod %s while it starts: %w; last it was on node %q, %s", name, err, last.Spec.NodeName, last.Status.String())
		}
		if begun(p) {
			break
		}
		last = p
		time.Sleep(20 * time.Millisecond)
	}
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		return err
	}
	for {
		if _, err := pods.Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("Pod %s while it ends: %w", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// begun says that all of a Pod's containers run, or cannot.
func begun(p *v1.Pod) bool {
	n := 0
	for _, c := range p.Status.ContainerStatuses {
		w := c.State.Waiting
		if c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil || w != nil && w.Reason == "ErrImageNeverPull" {
			n++
		}
	}
	return n == len(p.Spec.Containers)
}
