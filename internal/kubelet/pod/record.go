package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// past is what of a Pod neither the API nor containerd keeps.
type past struct {
	// Ends of the last two attempts of each container, the newest first.
	Ends     map[string][]*lifecycle.End `json:"ends,omitempty"`
	TornDown bool                        `json:"tornDown,omitempty"`
	Stop     *lifecycle.Stop             `json:"stop,omitempty"`
	Given    *given                      `json:"given,omitempty"` // nil: what the spec says
}

const (
	recordFile  = "record.json"
	podFile     = "pod.pb"
	sandboxFile = "sandbox" // written by the namespaces step
)

func loadPast(dir string) (past, error) {
	r := past{Ends: map[string][]*lifecycle.End{}}
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return past{Ends: map[string][]*lifecycle.End{}}, fmt.Errorf("reading the record of a Pod: %w", err)
	}
	if r.Ends == nil {
		r.Ends = map[string][]*lifecycle.End{}
	}
	return r, nil
}

func (r past) save(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(dir, recordFile), b)
}

// ended adds the end of the newest attempt, or says more about it.
func (r *past) ended(name string, e *lifecycle.End) {
	if ends := r.Ends[name]; len(ends) > 0 && ends[0].Attempt == e.Attempt && ends[0].ID == e.ID {
		ends[0] = e
		return
	}
	r.Ends[name] = append([]*lifecycle.End{e}, r.Ends[name]...)
	r.Ends[name] = r.Ends[name][:min(len(r.Ends[name]), 2)]
}

// SavePod writes a Pod's checkpoint.
func SavePod(dir string, pod *v1.Pod) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	lean := pod.DeepCopy()
	lean.ManagedFields = nil
	b, err := lean.Marshal()
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(dir, podFile), b)
}

// saver writes a Pod's checkpoint, always the newest, one at a time.
type saver struct {
	mu      sync.Mutex
	next    *v1.Pod
	writing bool
	closed  bool
}

// save has the Pod written in the background. A status that a crash keeps from being written is worked out again from what is found.
func (s *saver) save(dir string, pod *v1.Pod, log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = pod
	if s.writing || s.closed {
		return
	}
	s.writing = true
	go func() {
		for {
			s.mu.Lock()
			pod := s.next
			s.next = nil
			if pod == nil || s.closed {
				s.writing = false
				s.mu.Unlock()
				return
			}
			// Under the lock, so that nothing is written after close.
			err := SavePod(dir, pod)
			s.mu.Unlock()
			if err != nil {
				log.Error("writing the Pod's checkpoint failed", "err", err)
			}
		}
	}()
}

// close ends the writing: the Pod's directory is about to be removed.
func (s *saver) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// LoadPods reads the checkpoints of all Pods below dir. One that cannot be read is left out and told of: its containers are removed as nobody's.
func LoadPods(dir string) ([]*v1.Pod, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", podFile))
	if err != nil {
		return nil, err
	}
	var out []*v1.Pod
	var bad error
	for _, f := range files {
		b, err := os.ReadFile(f)
		pod := &v1.Pod{}
		if err == nil {
			err = pod.Unmarshal(b)
		}
		if err == nil && (pod.UID == "" || pod.Name == "") {
			err = errors.New("is empty")
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("checkpoint %s: %w; the Pod is taken up again when the API sends it", f, err))
			continue
		}
		out = append(out, pod)
	}
	return out, bad
}

// ReplaceFile writes a file so that a crash leaves the old content or the new.
func ReplaceFile(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func itoa(n int) string { return strconv.Itoa(n) }

// sameDesired says whether two versions of a Pod ask for the same; their statuses may differ.
func sameDesired(a, b *v1.Pod) bool {
	return a.UID == b.UID && a.Generation == b.Generation && equalTime(a.DeletionTimestamp, b.DeletionTimestamp) && equalInt(a.DeletionGracePeriodSeconds, b.DeletionGracePeriodSeconds) &&
		equalMap(a.Labels, b.Labels) && equalMap(a.Annotations, b.Annotations)
}

func equalTime(a, b *metav1.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(b)
}

func equalInt(a, b *int64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func equalMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}
