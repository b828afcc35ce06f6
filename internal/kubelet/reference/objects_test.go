package reference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// api counts the gets of a ConfigMap whose content is the number of the get.
type api struct {
	*fake.Clientset
	gets atomic.Int32
	hold chan struct{} // each get waits for one
	away atomic.Bool
}

func newAPI() *api {
	a := &api{Clientset: fake.NewClientset()}
	a.PrependReactor("get", "configmaps", func(act clienttesting.Action) (bool, runtime.Object, error) {
		n := a.gets.Add(1)
		if a.hold != nil {
			<-a.hold
		}
		if a.away.Load() {
			return true, nil, errors.New("connection refused")
		}
		return true, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm"}, Data: map[string]string{"n": fmt.Sprint(n)}}, nil
	})
	return a
}

func TestManyRequestsAtOnceAreTwoCallsAndNeverAnOldAnswer(t *testing.T) {
	a := newAPI()
	a.hold = make(chan struct{})
	o := New(a).For(context.Background(), "ns")
	var wg sync.WaitGroup
	first := make(chan string, 1)
	wg.Go(func() {
		m, err := o.ConfigMap("cm")
		if err != nil {
			t.Error(err)
		}
		first <- m.Data["n"]
	})
	for a.gets.Load() == 0 {
		// the first call is not under way yet
	}
	// These ask while it is: it may have read the object before a change that they know of.
	const more = 50
	later := make(chan string, more)
	var asked sync.WaitGroup
	asked.Add(more)
	for range more {
		wg.Go(func() {
			asked.Done()
			m, err := o.ConfigMap("cm")
			if err != nil {
				t.Error(err)
				return
			}
			later <- m.Data["n"]
		})
	}
	asked.Wait()
	close(a.hold)
	wg.Wait()
	if got := <-first; got != "1" {
		t.Errorf("the first request was answered with get %s", got)
	}
	for range more {
		if got := <-later; got == "1" {
			t.Fatal("a later request was answered with a call that had begun before it")
		}
	}
	if n := a.gets.Load(); n > 4 {
		t.Errorf("%d requests made %d calls", more+1, n)
	}
}

func TestWhileTheAPIIsAwayTheLastAnswerIsGiven(t *testing.T) {
	a := newAPI()
	o := New(a).For(context.Background(), "ns")
	a.away.Store(true)
	if _, err := o.ConfigMap("cm"); err == nil || !o.Away(err) {
		t.Errorf("never seen and the API away: got %v", err)
	}
	a.away.Store(false)
	want, err := o.ConfigMap("cm")
	if err != nil {
		t.Fatal(err)
	}
	a.away.Store(true)
	got, err := o.ConfigMap("cm")
	if err != nil || got.Data["n"] != want.Data["n"] {
		t.Errorf("got %v, %v; want what was seen last", got, err)
	}
}

func TestARefusalIsAnAnswer(t *testing.T) {
	o := New(fake.NewClientset()).For(context.Background(), "ns")
	_, err := o.Secret("none")
	if !apierrors.IsNotFound(err) || o.Away(err) {
		t.Errorf("got %v", err)
	}
}

func TestAnAskerThatGivesUpIsNotKept(t *testing.T) {
	a := newAPI()
	a.hold = make(chan struct{})
	defer close(a.hold)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(a).For(ctx, "ns").ConfigMap("cm"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
