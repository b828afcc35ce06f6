package status

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Ref names a Pod.
type Ref struct {
	Namespace, Name string
	UID             types.UID
}

// Writer sends statuses.
type Writer struct {
	client kubernetes.Interface
	slots  chan struct{}

	mu   sync.Mutex
	pods map[types.UID]*entry
}

type entry struct {
	ref     Ref
	want    *v1.PodStatus // newest
	sent    *v1.PodStatus // last that the API took
	version uint64        // of the object that the last patch gave
	sending bool
	timer   *time.Timer // for one that may wait
	idle    []chan struct{}
}

// concurrency bounds the patches under way at once; many Pods starting together must not crowd out everything else this client does.
const concurrency = 16

// patience is how long a status that nobody waits for may wait for the next one: most of a Pod's first statuses are overtaken by "Ready" within that time.
const patience = 100 * time.Millisecond

// New makes a Writer.
func New(c kubernetes.Interface) *Writer {
	return &Writer{client: c, slots: make(chan struct{}, concurrency), pods: map[types.UID]*entry{}}
}

// Known tells what was reported of a Pod before there was this Writer, so that an equal status is not sent again. A daemon that ended while the API was away may not
// have got it there: it is sent when the API is Observed to have something else.
func (w *Writer) Known(ref Ref, st *v1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pods[ref.UID] == nil {
		w.pods[ref.UID] = &entry{ref: ref, want: st, sent: st}
	}
}

// Observed takes in what the API has for a Pod as of a resource version. If that is newer than what this Writer wrote and says something else
// (the control plane marks Pods of a silent node as not ready), the wanted status is sent again. Versions of one object can be compared (KEP-5504).
func (w *Writer) Observed(ctx context.Context, ref Ref, version string, st *v1.PodStatus) {
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.pods[ref.UID]
	if e == nil || e.want == nil || e.sending || e.timer != nil || v <= e.version {
		return
	}
	e.version = v
	there, err1 := patch(ref.UID, st)
	want, err2 := patch(ref.UID, e.want)
	if err1 == nil && err2 == nil && !bytes.Equal(there, want) {
		e.sent = nil
		w.send(ctx, e)
	}
}

// Set makes st the status to report; urgent ones are sent at once.
func (w *Writer) Set(ctx context.Context, ref Ref, st *v1.PodStatus, urgent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.pods[ref.UID]
	if e == nil {
		e = &entry{}
		w.pods[ref.UID] = e
	}
	e.ref, e.want = ref, st
	switch {
	case e.sending || e.sent != nil && equality.Semantic.DeepEqual(e.sent, st):
	case urgent:
		w.send(ctx, e)
	case e.timer == nil:
		e.timer = time.AfterFunc(patience, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.send(ctx, e)
		})
	}
}

// send starts sending unless that is under way; w.mu is held.
func (w *Writer) send(ctx context.Context, e *entry) {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if e.sending || w.pods[e.ref.UID] != e {
		return
	}
	e.sending = true
	go w.run(ctx, e)
}

// run sends the newest status until the API has it.
func (w *Writer) run(ctx context.Context, e *entry) {
	delay := 50 * time.Millisecond
	told := slog.LevelWarn // the first failure; in an hour without the API there are hundreds of each Pod's
	for {
		w.mu.Lock()
		ref, st := e.ref, e.want
		if w.pods[ref.UID] != e || e.sent != nil && equality.Semantic.DeepEqual(e.sent, st) || ctx.Err() != nil {
			e.sending = false
			for _, c := range e.idle {
				close(c)
			}
			e.idle = nil
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		version, err := w.patch(ctx, ref, st)
		switch {
		case err == nil, gone(err):
			w.mu.Lock()
			e.sent, e.version = st, max(e.version, version)
			w.mu.Unlock()
			delay, told = 50*time.Millisecond, slog.LevelWarn
			continue
		case ctx.Err() == nil:
			slog.Log(ctx, told, "reporting a Pod's status failed; it is tried again until it succeeds", "pod", ref.Namespace+"/"+ref.Name, "in", delay, "err", err)
			told = slog.LevelDebug
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, 10*time.Second)
	}
}

func (w *Writer) patch(ctx context.Context, ref Ref, st *v1.PodStatus) (version uint64, err error) {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-w.slots }()
	body, err := patch(ref.UID, st)
	if err != nil {
		return 0, err
	}
	pod, err := w.client.CoreV1().Pods(ref.Namespace).Patch(ctx, ref.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		return 0, err
	}
	version, _ = strconv.ParseUint(pod.ResourceVersion, 10, 64)
	return version, nil
}

// gone says whether the API has no such Pod any more; there is nobody to tell then. It is forbidden to report on a Pod of that name which runs elsewhere.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsForbidden(err)
}

// Flush waits until the API has the newest status of a Pod.
func (w *Writer) Flush(ctx context.Context, uid types.UID) error {
	w.mu.Lock()
	e := w.pods[uid]
	if e == nil || e.want == nil || !e.sending && e.timer == nil {
		w.mu.Unlock()
		return nil
	}
	w.send(ctx, e)
	idle := make(chan struct{})
	e.idle = append(e.idle, idle)
	w.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Forget drops a Pod that is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.pods[uid]; e != nil && e.timer != nil {
		e.timer.Stop()
	}
	delete(w.pods, uid)
}
