package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/kubelet/static"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// staticPods keeps the static Pods of the folder running, and the API showing them.
type staticPods struct {
	*daemon
	folder static.Folder
	api    cache.SharedIndexInformer // of this node's Pods, mirrors among them
	kick   chan struct{}

	// What the folder held when it was read last. It is read when something was written to it, and not for what else is looked at: a file may be half written then.
	manifests []*static.Manifest
	kept      map[string]bool

	refused map[types.UID]bool // static Pods whose mirror the API does not want, and that was told
}

// follow works until ctx ends. The Pods in it need no API server; their mirrors wait for one.
func (s *staticPods) follow(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching --pod-manifest-path: %w; raise fs.inotify.max_user_instances", err)
	}
	defer w.Close()
	if s.folder.Path != "" {
		if err := os.MkdirAll(s.folder.Path, 0o755); err != nil {
			return fmt.Errorf("--pod-manifest-path: %w", err)
		}
		if err := w.Add(s.folder.Path); err != nil {
			return fmt.Errorf("watching --pod-manifest-path %s: %w", s.folder.Path, err)
		}
	}
	s.pods.OnGone(s.look)
	s.restart()
	// A file is read when nothing has been written to the folder for this long; half of one is another Pod.
	const quiet = 100 * time.Millisecond
	s.read()
	written, timer := time.NewTimer(quiet), time.NewTimer(0)
	pause, failure := time.Second, logging.News{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			written.Reset(quiet)
		case err := <-w.Errors:
			slog.Warn("watching --pod-manifest-path", "err", err)
			written.Reset(quiet)
		case <-written.C:
			s.read()
			timer.Reset(0)
		case <-s.kick:
			timer.Reset(0)
		case <-timer.C:
			err := s.reconcile(ctx)
			if failure.New(err) && ctx.Err() == nil {
				slog.Warn("showing static Pods at the API failed; it is tried again until it succeeds", "err", err)
			}
			if err != nil {
				timer.Reset(pause)
				pause = min(2*pause, 30*time.Second)
			} else {
				pause = time.Second
			}
		}
	}
}

// look has everything looked at again.
func (s *staticPods) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// restart has those run again that ended though they are to run always: the node went down with them. No controller makes another.
func (s *staticPods) restart() {
	for _, p := range s.pods.Static() {
		if p.Spec.RestartPolicy == v1.RestartPolicyAlways && (p.Status.Phase == v1.PodFailed || p.Status.Phase == v1.PodSucceeded) {
			s.pods.EndStatic(p.Pod)
		}
	}
}

// read takes in the folder.
func (s *staticPods) read() {
	var bad []error
	s.manifests, s.kept, bad = s.folder.Read(time.Now())
	for _, err := range bad {
		slog.Error("a static Pod's manifest is left out", "err", err)
		s.warn("InvalidStaticPod", err.Error())
	}
}

// reconcile brings what runs to what the folder says, and what the API shows to what runs.
func (s *staticPods) reconcile(ctx context.Context) error {
	wanted, names := map[types.UID]*static.Manifest{}, map[string]bool{}
	for _, m := range s.manifests {
		wanted[m.Pod.UID] = m
	}
	maps.DeleteFunc(s.refused, func(uid types.UID, _ bool) bool { return wanted[uid] == nil })
	ending := map[types.UID]bool{}
	for _, p := range s.pods.Static() {
		names[p.Namespace+"/"+p.Name] = true
		if wanted[p.UID] == nil && !s.kept[p.Annotations[static.FileAnnotation]] || p.Ending || p.Again {
			ending[p.UID] = true
			if !p.Ending {
				why := "a static Pod's manifest is gone or another; the Pod is ended"
				if p.Again {
					why = "there is room now for a static Pod that was turned away; it is taken up anew"
				}
				slog.Info(why, "pod", p.Namespace+"/"+p.Name)
				s.pods.EndStatic(p.Pod)
			}
		}
	}
	var run []*v1.Pod
	for _, m := range s.manifests {
		if !names[m.Pod.Namespace+"/"+m.Pod.Name] { // of one name only one runs; the next begins when that has ended
			slog.Info("a static Pod is run", "pod", m.Pod.Namespace+"/"+m.Pod.Name, "file", m.File)
			s.pods.Put(m.Pod)
		}
	}
	for _, p := range s.pods.Static() {
		if !ending[p.UID] {
			run = append(run, p.Pod)
		}
	}
	return s.mirror(ctx, run, ending, wanted)
}

// mirror has the API show the static Pods.
func (s *staticPods) mirror(ctx context.Context, run []*v1.Pod, ending map[types.UID]bool, from map[types.UID]*static.Manifest) error {
	if !s.api.HasSynced() {
		return nil // the first list has it looked at
	}
	var mirrors []*v1.Pod
	shown := map[types.UID]*v1.Pod{}
	for _, obj := range s.api.GetStore().List() {
		if p := obj.(*v1.Pod); s.isMirror(p) {
			mirrors = append(mirrors, p)
			shown[types.UID(p.Annotations[v1.MirrorPodAnnotationKey])] = p
		}
	}
	for _, p := range run {
		s.pods.Mirrored(p.UID, shown[p.UID])
	}
	var all error
	now := int64(0)
	for _, a := range static.Mirrors(run, ending, mirrors, s.stored()) {
		if d := a.Delete; d != nil {
			err := s.client.CoreV1().Pods(d.Namespace).Delete(ctx, d.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(d.UID))})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				all = errors.Join(all, err)
			}
			continue
		}
		uid := types.UID(a.Create.Annotations[v1.MirrorPodAnnotationKey])
		_, err := s.client.CoreV1().Pods(a.Create.Namespace).Create(ctx, a.Create, metav1.CreateOptions{})
		switch {
		case err == nil || apierrors.IsAlreadyExists(err): // what is there is told of by the watch
		case apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
			s.refusedMirror(uid, a.Create, from[uid], err)
		default:
			all = errors.Join(all, err)
		}
	}
	return all
}

// refusedMirror tells that the API does not show a static Pod, which runs all the same, with the lines that it does not like. It is not asked again before something changes.
func (s *staticPods) refusedMirror(uid types.UID, pod *v1.Pod, m *static.Manifest, err error) {
	if s.refused[uid] {
		return
	}
	s.refused[uid] = true
	text := fmt.Sprintf("the API does not show the static Pod %s/%s, which runs: %v", pod.Namespace, pod.Name, err)
	var status apierrors.APIStatus
	if m != nil && errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			text += fmt.Sprintf("\n%s:%d: %s: %s", m.File, m.Line(c.Field), c.Field, c.Message)
		}
	}
	slog.Error(text)
	s.warn("StaticPodRefused", text)
}

// isMirror says whether the API shows a static Pod by this one. A Pod that this node runs for the API is none, whatever its annotations have come to say.
func (s *staticPods) isMirror(p *v1.Pod) bool {
	_, says := p.Annotations[v1.MirrorPodAnnotationKey]
	return says && !s.pods.Has(p.UID)
}
