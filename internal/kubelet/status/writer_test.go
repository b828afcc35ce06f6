package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// api records the patches it is sent; it can be slow or away.
type api struct {
	*fake.Clientset
	mu      sync.Mutex
	patches []string
	version int
	away    bool
	hold    chan struct{}
}

func newAPI() *api {
	a := &api{Clientset: fake.NewClientset(), version: 10}
	a.PrependReactor("patch", "pods", func(act clienttesting.Action) (bool, runtime.Object, error) {
		if a.hold != nil {
			<-a.hold
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.away {
			return true, nil, errors.New("connection refused")
		}
		var body struct{ Status struct{ Phase string } }
		if err := json.Unmarshal(act.(clienttesting.PatchAction).GetPatch(), &body); err != nil {
			return true, nil, err
		}
		a.patches = append(a.patches, body.Status.Phase)
		a.version++
		return true, &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", ResourceVersion: fmt.Sprint(a.version)}}, nil
	})
	return a
}

func (a *api) sent() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.patches, " ")
}

var pod = Ref{Namespace: "ns", Name: "p", UID: "u"}

func phase(s string) *v1.PodStatus { return &v1.PodStatus{Phase: v1.PodPhase(s)} }

func flush(t *testing.T, w *Writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.Flush(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheNewestStatusIsSent(t *testing.T) {
	a := newAPI()
	a.hold = make(chan struct{})
	w := New(a)
	ctx := context.Background()
	w.Set(ctx, pod, phase("1"), true)
	for i := 2; i < 9; i++ {
		w.Set(ctx, pod, phase(fmt.Sprint(i)), true)
	}
	close(a.hold)
	flush(t, w)
	if got := a.sent(); !strings.HasSuffix(got, "8") || len(strings.Fields(got)) > 2 {
		t.Errorf("sent %q, want the first and the newest at most", got)
	}
}

func TestAStatusThatNobodyWaitsForIsOvertakenByOneThatSomebodyDoes(t *testing.T) {
	a := newAPI()
	w := New(a)
	w.Set(context.Background(), pod, phase("creating"), false)
	w.Set(context.Background(), pod, phase("ready"), true)
	flush(t, w)
	if got := a.sent(); got != "ready" {
		t.Errorf("sent %q, want only the urgent one", got)
	}
	w.Set(context.Background(), pod, phase("later"), false)
	flush(t, w)
	if got := a.sent(); got != "ready later" {
		t.Errorf("sent %q, want the other one in the end too", got)
	}
}

func TestAnEqualStatusIsNotSentAgain(t *testing.T) {
	a := newAPI()
	w := New(a)
	w.Known(pod, phase("x"))
	w.Set(context.Background(), pod, phase("x"), true)
	w.Set(context.Background(), pod, phase("y"), true)
	flush(t, w)
	w.Set(context.Background(), pod, phase("y"), true)
	flush(t, w)
	if got := a.sent(); got != "y" {
		t.Errorf("sent %q", got)
	}
}

func TestTheNewestStatusArrivesWhenTheAPIIsBack(t *testing.T) {
	a := newAPI()
	a.away = true
	w := New(a)
	w.Set(context.Background(), pod, phase("1"), true)
	w.Set(context.Background(), pod, phase("2"), true)
	time.AfterFunc(120*time.Millisecond, func() { a.mu.Lock(); a.away = false; a.mu.Unlock() })
	flush(t, w)
	if got := a.sent(); got != "2" {
		t.Errorf("sent %q", got)
	}
}

func TestWhatSomebodyElseWroteIsSetRight(t *testing.T) {
	a := newAPI()
	w := New(a)
	ctx := context.Background()
	w.Set(ctx, pod, phase("running"), true)
	flush(t, w)
	w.Observed(ctx, pod, "9", phase("pending")) // an old event, from before the patch
	flush(t, w)
	w.Observed(ctx, pod, "11", phase("running")) // the patch's own
	flush(t, w)
	if got := a.sent(); got != "running" {
		t.Fatalf("sent %q before anything was changed", got)
	}
	w.Observed(ctx, pod, "12", phase("failed"))
	flush(t, w)
	if got := a.sent(); got != "running running" {
		t.Errorf("sent %q, want the status again", got)
	}
}

func TestWhatAnEarlierDaemonCouldNotReportIsReported(t *testing.T) {
	for there, want := range map[string]string{"pending": "running", "running": ""} {
		a := newAPI()
		w := New(a)
		w.Known(pod, phase("running"))
		w.Observed(t.Context(), pod, "9", phase(there))
		flush(t, w)
		if got := a.sent(); got != want {
			t.Errorf("the API has %q: sent %q, want %q", there, got, want)
		}
	}
}

func TestAPatchLeavesWhatOthersReport(t *testing.T) {
	cond := func(t v1.PodConditionType, s v1.ConditionStatus, msg string) v1.PodCondition {
		return v1.PodCondition{Type: t, Status: s, Message: msg}
	}
	there := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"}, Status: v1.PodStatus{
		Phase: v1.PodPending, Message: "old", NominatedNodeName: "n",
		Conditions: []v1.PodCondition{cond("PodScheduled", "True", ""), cond("Ready", "False", "not yet"), cond("example.com/gate", "True", "mine")},
		PodIPs:     []v1.PodIP{{IP: "10.42.0.1"}}, PodIP: "10.42.0.1",
	}}
	want := &v1.PodStatus{
		Phase:      v1.PodRunning,
		Conditions: []v1.PodCondition{cond("PodScheduled", "False", "a stale copy"), cond("Ready", "True", ""), cond("example.com/gate", "False", "a stale copy")},
		PodIPs:     []v1.PodIP{{IP: "10.42.0.2"}}, PodIP: "10.42.0.2",
	}
	body, err := patch("u", want)
	if err != nil {
		t.Fatal(err)
	}
	original, err := json.Marshal(there)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, body, &v1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	got := &v1.Pod{}
	if err := json.Unmarshal(merged, got); err != nil {
		t.Fatal(err)
	}
	diff := cmp.Diff(v1.PodStatus{
		Phase: v1.PodRunning, NominatedNodeName: "n",
		Conditions: []v1.PodCondition{cond("PodScheduled", "True", ""), cond("Ready", "True", ""), cond("example.com/gate", "True", "mine")},
		PodIPs:     []v1.PodIP{{IP: "10.42.0.2"}}, PodIP: "10.42.0.2",
	}, got.Status)
	if diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
