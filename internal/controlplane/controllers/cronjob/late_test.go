package cronjob

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server whose watches are late, and a clock that the test turns.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	client  *latetest.Client
	clock   *clocktesting.FakePassiveClock
	version int
	crons   *latetest.Kind[*batchv1.CronJob]
	jobs    *latetest.Kind[*batchv1.Job]
	runs    map[string]int // how often the Job of a run was made
	lives   int            // calls after which the controller dies; below 0 for never
}

var errDead = errors.New("the process has ended")

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	begin := time.Date(2026, 1, 2, 15, 4, 30, 0, time.UTC)
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), client: client, clock: clocktesting.NewFakePassiveClock(begin), runs: map[string]int{},
		crons: latetest.NewKind[*batchv1.CronJob](t), jobs: latetest.NewKind[*batchv1.Job](t),
	}
	policies := []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}
	w.crons.Put(w.next(), &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tick", UID: "tick", CreationTimestamp: metav1.NewTime(begin)},
		Spec: batchv1.CronJobSpec{
			Schedule: "* * * * *", ConcurrencyPolicy: policies[w.rand.IntN(len(policies))],
			SuccessfulJobsHistoryLimit: ptr.To(int32(w.rand.IntN(3))), FailedJobsHistoryLimit: ptr.To[int32](1),
		},
	})
	return w
}

func (w *world) next() int {
	w.version++
	return w.version
}

func (w *world) cron() *batchv1.CronJob { return w.crons.Real["tick"] }

// controller starts one. What an earlier one remembered is lost, and the caches are read anew.
func (w *world) controller() *Controller {
	w.lives = -1
	w.crons.Relist(w.version)
	w.jobs.Relist(w.version)
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		if w.lives == 0 {
			return nil, errDead
		}
		if w.lives > 0 {
			w.lives--
		}
		return latetest.Sometimes(w.rand, w.carryOut)(a)
	})
	c := &Controller{
		client: w.client, events: &record.FakeRecorder{}, cronJobs: batchlisters.NewCronJobLister(w.crons.Cache), jobs: w.jobs.Cache, clock: w.clock,
		changed: map[types.UID]time.Time{}, started: map[types.UID]string{},
	}
	c.loop = reconcile.New("cronjob", c.reconcile)
	return c
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	if a.GetResource().Resource == "cronjobs" {
		return w.crons.Serve(a, w.next)
	}
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		j := a.Object.(*batchv1.Job)
		if w.jobs.Real[j.Name] == nil {
			w.made(j)
		}
	case clienttesting.DeleteActionImpl:
		j := w.jobs.Real[a.Name]
		if j == nil {
			return nil, apierrors.NewNotFound(batchv1.Resource("jobs"), a.Name)
		}
		if p := a.DeleteOptions.Preconditions; p != nil && *p.UID != j.UID {
			return nil, apierrors.NewConflict(batchv1.Resource("jobs"), a.Name, errors.New("another UID"))
		}
		if finished(j) == nil && w.cron().Spec.ConcurrencyPolicy != batchv1.ReplaceConcurrent {
			w.t.Errorf("the Job %s is deleted while it runs", j.Name)
		}
		w.jobs.Remove(w.next(), a.Name)
		return j, nil
	}
	return w.jobs.Serve(a, w.next)
}

// made checks a run that is about to begin.
func (w *world) made(j *batchv1.Job) {
	if w.runs[j.Name]++; w.runs[j.Name] > 1 {
		w.t.Errorf("the run %s takes place a second time", j.Name)
	}
	at, ok := scheduledFor(w.cron(), j)
	if !ok || at.After(w.clock.Now()) {
		w.t.Errorf("the Job %s is for %s, and it is %s", j.Name, at, w.clock.Now())
	}
	if w.cron().Spec.ConcurrencyPolicy == batchv1.AllowConcurrent {
		return
	}
	for _, other := range w.jobs.Real {
		if finished(other) == nil {
			w.t.Errorf("the Job %s is made while %s runs, although the policy is %s", j.Name, other.Name, w.cron().Spec.ConcurrencyPolicy)
		}
	}
}

// meddle lets time pass, or a Job end.
func (w *world) meddle() {
	if w.rand.IntN(3) > 0 {
		w.clock.SetTime(w.clock.Now().Add(time.Duration(w.rand.IntN(50)) * time.Second))
		return
	}
	for name, j := range w.jobs.Real {
		if finished(j) == nil {
			w.end(name)
			return
		}
	}
}

func (w *world) end(name string) {
	j := w.jobs.Real[name].DeepCopy()
	now := metav1.NewTime(w.clock.Now())
	j.Status.CompletionTime = &now
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: now}}
	w.jobs.Put(w.next(), j)
}

func TestLateWatchesLostAnswersAndDeathStartNoRunTwice(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "tick"}
	seeds := uint64(5000)
	if testing.Short() {
		seeds = 200
	}
	client := latetest.NewClient()
	runs, deaths := 0, 0
	for seed := range seeds {
		w := newWorld(t, client, seed)
		c := w.controller()
		reconcileOnce := func() {
			_, _ = c.reconcile(context.Background(), key) // errors are meant to be retried, which a later turn does
			if w.lives == 0 {
				c = w.controller()
				deaths++
			}
		}
		for range 120 {
			switch n := w.rand.IntN(16); {
			case n < 6:
				reconcileOnce()
			case n < 9:
				w.jobs.Deliver()
			case n < 11:
				w.crons.Deliver()
			case n < 14:
				w.meddle()
			case n == 14 && w.rand.IntN(4) == 0:
				w.jobs.Relist(w.version)
			case n == 15 && w.rand.IntN(4) == 0:
				w.lives = 1 + w.rand.IntN(3) // it dies in the midst of what it does next
				reconcileOnce()
			}
		}
		// Left in peace, with all Jobs ended, the next minute's run begins and the status tells of it.
		for range 40 {
			for name, j := range w.jobs.Real {
				if finished(j) == nil {
					w.end(name)
				}
			}
			w.jobs.Relist(w.version)
			w.crons.Relist(w.version)
			reconcileOnce()
		}
		w.clock.SetTime(w.clock.Now().Truncate(time.Minute).Add(time.Minute + time.Second))
		minute := jobName(w.cron(), w.clock.Now())
		for range 40 {
			w.jobs.Relist(w.version)
			w.crons.Relist(w.version)
			reconcileOnce()
		}
		if w.runs[minute] != 1 {
			t.Errorf("the run %s took place %d times", minute, w.runs[minute])
		}
		if active := w.cron().Status.Active; len(active) != 1 || active[0].Name != minute {
			t.Errorf("the status lists %v, want %s", active, minute)
		}
		if limit := int(*w.cron().Spec.SuccessfulJobsHistoryLimit); len(w.jobs.Real) > limit+1 {
			t.Errorf("%d Jobs are there, want one that runs and %d that ended", len(w.jobs.Real), limit)
		}
		runs += len(w.runs)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d runs, %d deaths", runs, deaths)
}
