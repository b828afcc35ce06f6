package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server, the nodes, and two watches that are late: each keeps the order of its own kind's events, and between the two there is no order.
// It checks every write against what is true, not against what the controller could see.
type world struct {
	t    *testing.T
	rand *rand.Rand

	version int
	pods    map[string]*corev1.Pod // true
	job     *batchv1.Job           // true
	late    []podEvent
	lateJob []*batchv1.Job

	cache *latetest.Indexer
	jobs  cache.Indexer

	steady           bool // no more failing calls
	resized          bool // parallelism or completions were changed
	succeeded, fails sets.Set[types.UID]
	lost             []string // tracked Pods that ended and lost their finalizer without being named
	creates          int
}

type podEvent struct {
	version int
	name    string
	pod     *corev1.Pod // nil: gone
}

func newWorld(t *testing.T, seed uint64) *world {
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Pod{}, 0, cache.Indexers{})
	index.AddController(inf)
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, inf.GetIndexer().GetIndexers())
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), pods: map[string]*corev1.Pod{}, version: 1,
		cache: &latetest.Indexer{Indexer: pods}, succeeded: sets.New[types.UID](), fails: sets.New[types.UID](),
		jobs: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
	}
	labels := map[string]string{"app": "sum"}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sum", UID: "uid-sum", Generation: 1},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To(int32(1 + w.rand.IntN(4))), Completions: ptr.To(int32(1 + w.rand.IntN(6))), BackoffLimit: ptr.To[int32](1000),
			CompletionMode: ptr.To(batchv1.NonIndexedCompletion), Suspend: ptr.To(false),
			PodReplacementPolicy: ptr.To([]batchv1.PodReplacementPolicy{batchv1.TerminatingOrFailed, batchv1.Failed}[w.rand.IntN(2)]),
			Selector:             &metav1.LabelSelector{MatchLabels: labels},
			Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
		},
	}
	switch w.rand.IntN(4) {
	case 0:
		job.Spec.Completions = nil
	case 1:
		job.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	case 2:
		job.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		job.Spec.BackoffLimitPerIndex = ptr.To(int32(w.rand.IntN(3)))
	}
	if w.rand.IntN(4) == 0 {
		job.Spec.BackoffLimit = ptr.To(int32(w.rand.IntN(3)))
	}
	w.showJob(job)
	w.deliverJob()
	return w
}

var theClient = latetest.NewClient()

func (w *world) controller() *Controller {
	theClient.AnsweredBy(w.answer)
	c := &Controller{
		client: theClient, events: &record.FakeRecorder{}, jobs: batchlisters.NewJobLister(w.jobs), pods: w.cache,
		clock: func() time.Time { return time.Now().Add(time.Hour) }, // no back-off is left
	}
	c.loop = reconcile.New("job", c.reconcile)
	return c
}

func (w *world) shown() *batchv1.Job {
	obj, _, _ := w.jobs.GetByKey("default/sum")
	return obj.(*batchv1.Job)
}

// answer is the API server.
func (w *world) answer(a clienttesting.Action) (runtime.Object, error) {
	if w.steady {
		return w.carryOut(a)
	}
	return latetest.Sometimes(w.rand, w.carryOut)(a)
}

func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	gr := corev1.Resource(a.GetResource().Resource)
	if a.GetResource().Resource == "jobs" {
		if u, ok := a.(clienttesting.UpdateActionImpl); ok {
			return w.updateStatus(u.Object.(*batchv1.Job))
		}
		return w.job.DeepCopy(), nil
	}
	switch a := a.(type) {
	case clienttesting.CreateActionImpl:
		return w.create(a.Object.(*corev1.Pod).DeepCopy())
	case clienttesting.DeleteActionImpl:
		p := w.pods[a.Name]
		if p == nil {
			return nil, apierrors.NewNotFound(gr, a.Name)
		}
		if p.DeletionTimestamp == nil {
			p = p.DeepCopy()
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.show(p)
		}
		return p, nil
	case clienttesting.GetActionImpl:
		if p := w.pods[a.Name]; p != nil {
			return p.DeepCopy(), nil
		}
		return nil, apierrors.NewNotFound(gr, a.Name)
	case clienttesting.PatchActionImpl:
		p := w.pods[a.Name]
		if p == nil {
			return nil, apierrors.NewNotFound(gr, a.Name)
		}
		return w.patch(p, a.Patch)
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

// create holds every new Pod against what is true of the others.
func (w *world) create(p *corev1.Pod) (runtime.Object, error) {
	if w.pods[p.Name] != nil {
		return nil, apierrors.NewAlreadyExists(corev1.Resource("pods"), p.Name)
	}
	if Finished(w.job) {
		w.t.Errorf("created %s for a Job that is over", p.Name)
	}
	shown, others := w.shown(), 0
	i, hasIndex := indexOf(p)
	for _, q := range w.pods {
		live := podstate.Active(q) || replacesOnlyFailed(w.job) && podstate.Terminating(q)
		if live {
			others++
		}
		if j, ok := indexOf(q); hasIndex && ok && i == j && (live || q.Status.Phase == corev1.PodSucceeded && q.DeletionTimestamp == nil && tracked(q)) {
			w.t.Errorf("created %s beside %s, which is %s: both have index %d", p.Name, q.Name, q.Status.Phase, i)
		}
	}
	if hasIndex && parseIndexes(w.job.Status.CompletedIndexes, 100).has(i) && !w.resized {
		w.t.Errorf("created %s although index %d has succeeded", p.Name, i)
	}
	if limit := int(*shown.Spec.Parallelism); others >= limit {
		w.t.Errorf("created %s although %d Pods of %d were there", p.Name, others, limit)
	}
	if suspended(shown) {
		w.t.Errorf("created %s for a suspended Job", p.Name)
	}
	w.creates++
	p.UID, p.Status.Phase = types.UID("uid-"+p.Name), corev1.PodPending
	w.show(p)
	return w.pods[p.Name].DeepCopy(), nil
}

func (w *world) patch(p *corev1.Pod, patch []byte) (runtime.Object, error) {
	var want struct {
		Metadata struct{ UID, ResourceVersion string }
	}
	if err := json.Unmarshal(patch, &want); err != nil {
		return nil, err
	}
	if want.Metadata.UID != string(p.UID) || want.Metadata.ResourceVersion != "" && want.Metadata.ResourceVersion != p.ResourceVersion {
		return nil, apierrors.NewConflict(corev1.Resource("pods"), p.Name, fmt.Errorf("it has changed"))
	}
	old, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergePatch(old, patch, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	next := &corev1.Pod{}
	if err := json.Unmarshal(merged, next); err != nil {
		return nil, err
	}
	if tracked(p) && !tracked(next) && countable(w.job, p) && !w.resized && w.job.DeletionTimestamp == nil {
		ended := podstate.Finished(p)
		i, hasIndex := indexOf(p)
		named := w.succeeded.Has(p.UID) || w.fails.Has(p.UID) || hasIndex && parseIndexes(w.job.Status.CompletedIndexes, 100).has(i)
		if met := condition(&w.job.Status, batchv1.JobSuccessCriteriaMet); ended && !named && (met == nil || p.Status.Phase == corev1.PodSucceeded && p.DeletionTimestamp == nil) {
			w.lost = append(w.lost, fmt.Sprintf("%s (%s)", p.Name, p.Status.Phase))
		}
	}
	w.show(next)
	return next.DeepCopy(), nil
}

// updateStatus checks what every reader of a Job relies on.
func (w *world) updateStatus(job *batchv1.Job) (runtime.Object, error) {
	if job.ResourceVersion != w.job.ResourceVersion {
		return nil, apierrors.NewConflict(batchv1.Resource("jobs"), job.Name, fmt.Errorf("it has changed"))
	}
	s := job.Status
	for _, uid := range s.UncountedTerminatedPods.Succeeded {
		if w.fails.Has(uid) {
			w.t.Errorf("%s is counted as failed and as succeeded", uid)
		}
		w.succeeded.Insert(uid)
	}
	for _, uid := range s.UncountedTerminatedPods.Failed {
		if w.succeeded.Has(uid) {
			w.t.Errorf("%s is counted as succeeded and as failed", uid)
		}
		w.fails.Insert(uid)
	}
	if n := int(s.Succeeded) + len(s.UncountedTerminatedPods.Succeeded); !indexed(job) && n != w.succeeded.Len() {
		w.t.Errorf("%d Pods counted or named as succeeded, %d ever were", n, w.succeeded.Len())
	}
	if n := int(s.Failed) + len(s.UncountedTerminatedPods.Failed); n != w.fails.Len() {
		w.t.Errorf("%d Pods counted or named as failed, %d ever were", n, w.fails.Len())
	}
	next := w.job.DeepCopy()
	next.Status = s
	for _, err := range validation.JobStatusUpdate(next, w.job) {
		if err.Field != "metadata.resourceVersion" && err.Field != "metadata.creationTimestamp" {
			w.t.Errorf("the status is refused: %v", err)
		}
	}
	w.showJob(next)
	return next.DeepCopy(), nil
}

// show makes a Pod's change true and lets the watch know of it. A Pod being deleted goes when nothing keeps it.
func (w *world) show(p *corev1.Pod) {
	w.version++
	e := podEvent{version: w.version, name: p.Name}
	if p.DeletionTimestamp != nil && len(p.Finalizers) == 0 && (podstate.Finished(p) || p.Status.Phase == corev1.PodPending) {
		delete(w.pods, p.Name)
	} else {
		p.ResourceVersion = strconv.Itoa(w.version)
		w.pods[p.Name], e.pod = p, p
	}
	w.late = append(w.late, e)
}

func (w *world) showJob(job *batchv1.Job) {
	w.version++
	job.ResourceVersion = strconv.Itoa(w.version)
	w.job = job
	w.lateJob = append(w.lateJob, job)
}

func (w *world) deliverJob() {
	if len(w.lateJob) > 0 {
		if err := w.jobs.Update(w.lateJob[0]); err != nil {
			w.t.Fatal(err)
		}
		w.lateJob = w.lateJob[1:]
	}
}

func (w *world) deliver() {
	if len(w.late) == 0 {
		return
	}
	e := w.late[0]
	w.late = w.late[1:]
	w.cache.Version = strconv.Itoa(e.version)
	var err error
	if e.pod == nil {
		err = w.cache.Delete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: e.name}})
	} else {
		err = w.cache.Update(e.pod)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// relist shows the cache of Pods what is true now: what came and went since is never seen.
func (w *world) relist() {
	var list []any
	for _, p := range w.pods {
		list = append(list, p)
	}
	if err := w.cache.Replace(list, ""); err != nil {
		w.t.Fatal(err)
	}
	w.late, w.cache.Version = nil, strconv.Itoa(w.version)
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.pods)) }

// run lets the nodes bring one Pod a step further.
func (w *world) run(name string, success bool) {
	p := w.pods[name].DeepCopy()
	switch {
	case podstate.Finished(p) && p.DeletionTimestamp != nil && !tracked(p), podstate.Finished(p):
		return
	case p.DeletionTimestamp != nil:
		p.Status.Phase = corev1.PodFailed
		if w.rand.IntN(4) == 0 && success && replacesOnlyFailed(w.job) {
			p.Status.Phase = corev1.PodSucceeded
		}
	case p.Spec.NodeName == "":
		p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	case success:
		p.Status.Phase, p.Status.Conditions = corev1.PodSucceeded, nil
	default:
		p.Status.Phase, p.Status.Conditions = corev1.PodFailed, nil
	}
	w.show(p)
}

// meddle changes something behind the controller's back.
func (w *world) meddle() {
	names := w.names()
	switch n := w.rand.IntN(12); {
	case n < 8 && len(names) > 0:
		w.run(names[w.rand.IntN(len(names))], w.rand.IntN(3) > 0)
	case n == 8 && len(names) > 0: // somebody deletes a Pod
		if p := w.pods[names[w.rand.IntN(len(names))]].DeepCopy(); podstate.Active(p) {
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.show(p)
		}
	case n == 9 && !Finished(w.job):
		job := w.job.DeepCopy()
		job.Spec.Suspend = ptr.To(!*job.Spec.Suspend)
		w.showJob(job)
	case n == 10 && !Finished(w.job):
		job := w.job.DeepCopy()
		job.Spec.Parallelism = ptr.To(int32(1 + w.rand.IntN(4)))
		if indexed(job) && w.rand.IntN(3) == 0 {
			job.Spec.Completions, w.resized = job.Spec.Parallelism, true
		}
		w.showJob(job)
	}
}

func (w *world) check() {
	s := w.job.Status
	if !Finished(w.job) {
		w.t.Errorf("in the end the Job is not over: %+v", s)
	}
	if len(w.lost) > 0 && !w.resized {
		w.t.Errorf("ended and never counted: %v", w.lost)
	}
	if !indexed(w.job) && int(s.Succeeded) != w.succeeded.Len() {
		w.t.Errorf("%d Pods counted as succeeded, %d did", s.Succeeded, w.succeeded.Len())
	}
	if int(s.Failed) != w.fails.Len() {
		w.t.Errorf("%d Pods counted as failed, %d did", s.Failed, w.fails.Len())
	}
	if c := condition(&s, batchv1.JobComplete); c != nil && w.job.Spec.Completions != nil && !w.resized && s.Succeeded != *w.job.Spec.Completions {
		w.t.Errorf("complete with %d successes of %d", s.Succeeded, *w.job.Spec.Completions)
	}
	for _, p := range w.pods {
		if tracked(p) || podstate.Active(p) {
			w.t.Errorf("left behind: %s, %s, finalizers %v", p.Name, p.Status.Phase, p.Finalizers)
		}
	}
}
