package pod

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// Close has Pods that are new to the node turned away, for the reason that stop gives, until Open.
func (s *Set) Close(stop lifecycle.Stop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = &stop
}

// Open takes Pods again.
func (s *Set) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = nil
}

// Stop ends a Pod though nobody deleted it. The channel is closed when it has ended, and nothing is left of it on the node but its record: at once if there
// is no such Pod. One that is being stopped for another reason keeps that reason, and ends by the earlier of the two times.
func (s *Set) Stop(uid types.UID, stop lifecycle.Stop) <-chan struct{} {
	ended := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.workers[uid]
	if w == nil {
		close(ended)
		return ended
	}
	w.tell(func() {
		w.stopped = append(w.stopped, ended)
		w.halt(stop)
	})
	return ended
}

// halt notes that the Pod is to stop.
func (w *worker) halt(stop lifecycle.Stop) {
	if over(w.pod) {
		return
	}
	if before := w.record.Stop; before != nil {
		until := stop.Until
		stop = *before
		if stop.Until.IsZero() || until.Before(stop.Until) {
			stop.Until = until
		}
	}
	w.record.Stop = &stop
	if err := w.record.save(w.dir); err != nil {
		w.log.Error("writing that the Pod is to stop failed; a restart of the daemon lets it run on", "err", err)
	}
}

// tellStopped tells those who wait for the Pod's end, if it has come.
func (w *worker) tellStopped() {
	if !w.ended && !(w.tornDown && over(w.pod)) {
		return
	}
	for _, ch := range w.stopped {
		close(ch)
	}
	w.stopped = nil
}
