package pod

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
)

// report sends a status that differs from the last, and makes events of what changed with it.
func (w *worker) report(ctx context.Context, st v1.PodStatus) {
	if equality.Semantic.DeepEqual(w.pod.Status, st) {
		return
	}
	for _, e := range backoffs(&w.pod.Status, &st) {
		w.event(e.container, v1.EventTypeWarning, "BackOff", "%s", e.message)
	}
	urgent := lifecycle.Urgent(&w.pod.Status, &st)
	if w.trace != nil && lifecycle.IsTrue(&st, v1.PodReady) {
		w.trace.Ready()
	}
	next := *w.pod
	next.Status = st
	w.pod = &next
	if urgent {
		w.save() // the rest is worked out again from what is found
	}
	if w.gone {
		return
	}
	w.send(ctx, urgent)
}

func ref(p *v1.Pod) status.Ref { return status.Ref{Namespace: p.Namespace, Name: p.Name, UID: p.UID} }

type backoff struct{ container, message string }

// backoffs finds the containers that began to wait for their next try.
func backoffs(before, now *v1.PodStatus) []backoff {
	waits := func(list []v1.ContainerStatus, name string) string {
		for i := range list {
			if list[i].Name == name && list[i].State.Waiting != nil {
				return list[i].State.Waiting.Reason
			}
		}
		return ""
	}
	var out []backoff
	for _, pair := range [][2][]v1.ContainerStatus{{before.InitContainerStatuses, now.InitContainerStatuses}, {before.ContainerStatuses, now.ContainerStatuses}, {before.EphemeralContainerStatuses, now.EphemeralContainerStatuses}} {
		for i := range pair[1] {
			s := &pair[1][i]
			was, is := waits(pair[0], s.Name), waits(pair[1], s.Name)
			if was == is {
				continue
			}
			switch is {
			case "CrashLoopBackOff":
				out = append(out, backoff{s.Name, "Back-off restarting failed container " + s.Name})
			case "ImagePullBackOff":
				out = append(out, backoff{s.Name, "Back-off pulling image \"" + s.Image + "\": " + s.State.Waiting.Message})
			}
		}
	}
	return out
}

// event records an event about the Pod, or about one of its containers.
func (w *worker) event(container, kind, reason, format string, a ...any) {
	ref := &v1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: w.pod.Namespace, Name: w.pod.Name, UID: w.pod.UID, ResourceVersion: w.pod.ResourceVersion,
	}
	if container != "" {
		ref.FieldPath = "spec.containers{" + container + "}"
		for i := range w.pod.Spec.InitContainers {
			if w.pod.Spec.InitContainers[i].Name == container {
				ref.FieldPath = "spec.initContainers{" + container + "}"
			}
		}
		if w.guest(container) != nil {
			ref.FieldPath = "spec.ephemeralContainers{" + container + "}"
		}
	}
	w.node.Recorder.Eventf(ref, kind, reason, format, a...)
}
