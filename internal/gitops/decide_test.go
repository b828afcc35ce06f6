package gitops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *metav1.MicroTime { return &metav1.MicroTime{Time: noon.Add(d)} }

func TestGitIsLookedAtWhenThereIsAReasonTo(t *testing.T) {
	app := func(generation, observed int64, asked, handled string) *v1alpha1.Application {
		return &v1alpha1.Application{
			ObjectMeta: metav1.ObjectMeta{Generation: generation, Annotations: map[string]string{v1alpha1.AnnotationRequestedAt: asked}},
			Status:     v1alpha1.ApplicationStatus{ObservedGeneration: observed, HandledRequest: handled},
		}
	}
	later := noon.Add(time.Minute)
	for name, c := range map[string]struct {
		m     *memory
		asked *look
		app   *v1alpha1.Application
		want  string
	}{
		"a webhook":                          {&memory{looked: true, generation: 1, nextPoll: later}, &look{trigger: triggerWebhook}, app(1, 1, "", ""), triggerWebhook},
		"a new Application":                  {&memory{}, nil, app(1, 0, "", ""), triggerSpec},
		"a start":                            {&memory{}, nil, app(1, 1, "", ""), triggerStart},
		"a changed spec":                     {&memory{looked: true, generation: 1, nextPoll: later}, nil, app(2, 1, "", ""), triggerSpec},
		"a request":                          {&memory{looked: true, generation: 1, nextPoll: later}, nil, app(1, 1, "now", ""), triggerRequest},
		"a request from before the start":    {&memory{looked: true, generation: 1, nextPoll: later}, nil, app(1, 1, "now", "now"), ""},
		"a request whose status is not back": {&memory{looked: true, generation: 1, request: "now", nextPoll: later}, nil, app(1, 1, "now", ""), ""},
		"the poll":                           {&memory{looked: true, generation: 1, nextPoll: noon}, nil, app(1, 1, "", ""), triggerPoll},
		"none":                               {&memory{looked: true, generation: 1, nextPoll: later}, nil, app(1, 1, "", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := lookNow(c.m, c.asked, c.app, noon)
			if d := cmp.Diff(c.want, l.trigger); d != "" {
				t.Errorf("trigger (-want +got):\n%s", d)
			}
		})
	}
}

// The clock goes in milliseconds; a pass begins when a push is due and none is running, and takes a while.
func TestOfManyPushesTheFirstIsLookedAtAtOnceAndTheRestTogether(t *testing.T) {
	every := func(gap, until int) (out []int) {
		for at := 0; at < until; at += gap {
			out = append(out, at)
		}
		return out
	}
	for name, c := range map[string]struct {
		pushes []int
		takes  int
		want   string
	}{
		"one":                                {[]int{0}, 30, "[0]"},
		"each after a while":                 {[]int{0, 300, 500, 1000}, 30, "[0 300 500 1000]"},
		"two at once":                        {[]int{0, 0}, 30, "[0]"},
		"one while the first is looked at":   {[]int{0, 20}, 30, "[0 200]"},
		"one soon after the look":            {[]int{0, 150}, 30, "[0 200]"},
		"forty in a second":                  {every(25, 1000), 30, "[0 200 400 600 800 1000]"},
		"forty in a second, of a slow host":  {every(25, 1000), 450, "[0 450 900 1350]"},
		"a hundred at once, and one more":    {append(make([]int, 100), 90), 30, "[0 200]"},
		"a burst, and one after it was over": {[]int{0, 20, 40, 600}, 30, "[0 200 600]"},
	} {
		t.Run(name, func(t *testing.T) {
			m, looks, ready, wake := &memory{}, []int{}, 0, -1
			for now := 0; now < 2000; now++ {
				clock := noon.Add(time.Duration(now) * time.Millisecond)
				for len(c.pushes) > 0 && c.pushes[0] == now {
					wake, c.pushes = max(now, int(m.ask(triggerWebhook, clock).Sub(noon).Milliseconds())), c.pushes[1:]
				}
				if wake < 0 || now < max(wake, ready) {
					continue
				}
				l, wait := m.asked(clock)
				if wake = -1; wait > 0 {
					wake = now + int(wait.Milliseconds())
				}
				if l != nil {
					looks, ready = append(looks, now), now+c.takes
				}
			}
			if got := fmt.Sprint(looks); got != c.want || m.look != nil {
				t.Errorf("looks at %s, want %s; left over: %v", got, c.want, m.look)
			}
		})
	}
}

// A push that waits for its turn waits no longer when something else needs Git, and what else is done meanwhile does not take its turn away.
func TestAPushThatWaitsIsNotForgotten(t *testing.T) {
	m := &memory{pushed: noon}
	soon := noon.Add(time.Millisecond)
	if due := m.ask(triggerWebhook, soon); !due.Equal(noon.Add(pushSpacing)) {
		t.Errorf("due at %s", due)
	}
	if l, wait := m.asked(soon); l != nil || wait != pushSpacing-time.Millisecond {
		t.Errorf("a pass for another reason: %v, wait %s", l, wait)
	}
	if due := m.ask(triggerMove, soon); !due.Equal(soon) {
		t.Errorf("a move that needs Git now: due at %s", due)
	}
	if l, _ := m.asked(soon); l == nil || l.trigger != triggerWebhook {
		t.Errorf("the two together: %v", l)
	}
}

func TestPollsSpreadOutAndSlowDownWhileTheHostFails(t *testing.T) {
	minute := &metav1.Duration{Duration: time.Minute}
	for _, c := range []struct {
		interval *metav1.Duration
		failures int
		roll     float64
		want     time.Duration
	}{
		{nil, 0, 0.5, time.Minute},
		{minute, 0, 0, 54 * time.Second},
		{minute, 0, 1, 66 * time.Second},
		{minute, 1, 0.5, 2 * time.Minute},
		{minute, 2, 0.5, 4 * time.Minute},
		{minute, 3, 0.5, 5 * time.Minute},
		{minute, 1000, 0.5, 5 * time.Minute},
		{&metav1.Duration{Duration: time.Hour}, 9, 0.5, time.Hour},
		{&metav1.Duration{}, 0, 0.5, time.Second},
	} {
		if got := pollDelay(c.interval, c.failures, c.roll); got != c.want {
			t.Errorf("interval %v, %d failures, roll %v: %s, want %s", c.interval, c.failures, c.roll, got, c.want)
		}
	}
}

func TestARolledBackCommitStaysAwayUntilSomethingChanges(t *testing.T) {
	s := &v1alpha1.ApplicationStatus{
		ObservedGeneration: 1, HealthyRevision: "good",
		History: []v1alpha1.HistoryEntry{{Revision: "good", Result: resultApplied}, {Revision: "bad", Result: resultRolledBack}, {Revision: "bad", Result: resultApplied}},
	}
	for _, c := range []struct {
		head       string
		generation int64
		want       string
	}{{"bad", 1, "good"}, {"new", 1, "new"}, {"bad", 2, "bad"}, {"good", 1, "good"}} {
		if got := target(s, c.head, c.generation); got != c.want {
			t.Errorf("head %s, generation %d: target %s, want %s", c.head, c.generation, got, c.want)
		}
	}
}

func TestARefusalHoldsAsLongAsTryingAgainWouldSayTheSame(t *testing.T) {
	for _, c := range []struct {
		r       *refusal
		commit  string
		trigger string
		want    bool
	}{
		{nil, "a", triggerPoll, false},
		{&refusal{commit: "a", generation: 1}, "a", "", true},
		{&refusal{commit: "a", generation: 1}, "a", triggerPoll, true},
		{&refusal{commit: "a", generation: 1}, "a", triggerWebhook, true},
		{&refusal{commit: "a", generation: 1}, "a", triggerRequest, false},
		{&refusal{commit: "a", generation: 1}, "b", triggerPoll, false},
		{&refusal{commit: "a", generation: 2}, "a", triggerPoll, false},
		{&refusal{commit: "a", generation: 1, temporary: true}, "a", triggerPoll, false},
		{&refusal{commit: "a", generation: 1, temporary: true}, "a", "", true},
	} {
		if got := c.r.standing(c.commit, 1, c.trigger); got != c.want {
			t.Errorf("%+v, commit %s, trigger %q: %t, want %t", c.r, c.commit, c.trigger, got, c.want)
		}
	}
}

func TestRollingBackNeedsADeadlineThatPassedAndACommitThatWasHealthy(t *testing.T) {
	s := &v1alpha1.ApplicationStatus{UnhealthySince: at(-time.Minute), AppliedRevision: "b", HealthyRevision: "a"}
	for _, c := range []struct {
		timeout time.Duration
		late    bool
		left    time.Duration
	}{{time.Minute, true, 0}, {2 * time.Minute, false, time.Minute}} {
		late, left := overdue(s, &metav1.Duration{Duration: c.timeout}, noon)
		if late != c.late || left != c.left {
			t.Errorf("timeout %s: %t, %s left; want %t, %s", c.timeout, late, left, c.late, c.left)
		}
	}
	if late, _ := overdue(&v1alpha1.ApplicationStatus{}, nil, noon); late {
		t.Error("a healthy Application is overdue")
	}
	rollback := &v1alpha1.ApplicationSpec{OnFailure: v1alpha1.FailureRollback}
	for name, c := range map[string]struct {
		spec *v1alpha1.ApplicationSpec
		s    v1alpha1.ApplicationStatus
		late bool
		want bool
	}{
		"asked for":             {rollback, *s, true, true},
		"not asked for":         {&v1alpha1.ApplicationSpec{}, *s, true, false},
		"in time":               {rollback, *s, false, false},
		"never healthy":         {rollback, v1alpha1.ApplicationStatus{AppliedRevision: "b"}, true, false},
		"was healthy and broke": {rollback, v1alpha1.ApplicationStatus{AppliedRevision: "b", HealthyRevision: "b"}, true, false},
	} {
		if got := shouldRollBack(c.spec, &c.s, c.late); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestAFightOverAFieldSlowsDown(t *testing.T) {
	var past []time.Time
	now := noon
	var delays []string
	for range 20 {
		d := revertDelay(past, now)
		delays = append(delays, d.String())
		now = now.Add(d)
		past = remember(past, now)
	}
	want := "0s 0s 0s 0s 0s 1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s"
	if got := strings.Join(delays, " "); got != want {
		t.Errorf("delays %s, want %s", got, want)
	}
	if d := revertDelay(past, now.Add(time.Hour)); d != 0 {
		t.Errorf("an hour later the next revert waits %s", d)
	}
}

func TestDependenciesAreWaitedForWithAReason(t *testing.T) {
	ready := func() *v1alpha1.Application {
		return &v1alpha1.Application{
			ObjectMeta: metav1.ObjectMeta{Generation: 1},
			Status:     v1alpha1.ApplicationStatus{ObservedGeneration: 1, Sync: syncSynced, Health: "Healthy"},
		}
	}
	for why, change := range map[string]func(*v1alpha1.Application) *v1alpha1.Application{
		"": func(a *v1alpha1.Application) *v1alpha1.Application { return a },
		"there is no such Application in namespace ns": func(*v1alpha1.Application) *v1alpha1.Application { return nil },
		"it is suspended":           func(a *v1alpha1.Application) *v1alpha1.Application { a.Spec.Suspend = true; return a },
		"its spec has just changed": func(a *v1alpha1.Application) *v1alpha1.Application { a.Generation = 2; return a },
		"it is not synced":          func(a *v1alpha1.Application) *v1alpha1.Application { a.Status.Sync = syncFailed; return a },
		"it is not healthy":         func(a *v1alpha1.Application) *v1alpha1.Application { a.Status.Health = "Progressing"; return a },
	} {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "me", Namespace: "ns"}, Spec: v1alpha1.ApplicationSpec{DependsOn: []v1alpha1.Dependency{{Name: "infra"}}}}
		_, got := waitingFor(app, func(reconcile.Key) *v1alpha1.Application { return change(ready()) })
		if got != why {
			t.Errorf("waits because %q, want %q", got, why)
		}
	}
	self := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "me"}, Spec: v1alpha1.ApplicationSpec{DependsOn: []v1alpha1.Dependency{{Name: "me"}}}}
	if _, why := waitingFor(self, func(reconcile.Key) *v1alpha1.Application { return self }); !strings.Contains(why, "itself") {
		t.Errorf("an Application that depends on itself waits because %q", why)
	}
}

func TestADependencyMayBeInAnotherNamespace(t *testing.T) {
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "me", Namespace: "ns"}, Spec: v1alpha1.ApplicationSpec{DependsOn: []v1alpha1.Dependency{{Name: "me", Namespace: "storage"}}}}
	name, why := waitingFor(app, func(k reconcile.Key) *v1alpha1.Application {
		if k != (reconcile.Key{Namespace: "storage", Name: "me"}) {
			t.Errorf("asked for %s", k)
		}
		return nil
	})
	if name != "storage/me" || why != "there is no such Application in namespace storage" {
		t.Errorf("waits for %q because %q", name, why)
	}
	if keys, err := byDependsOn(app); err != nil || len(keys) != 1 || keys[0] != "storage/me" {
		t.Errorf("is indexed under %v, %v", keys, err)
	}
}

func TestMarksAreLabelsAndDifferForDifferentApplications(t *testing.T) {
	long := strings.Repeat("n", 40)
	seen := map[string]reconcile.Key{}
	for _, k := range []reconcile.Key{{Namespace: "a", Name: "b"}, {Namespace: long, Name: long}, {Namespace: long, Name: long + "x"}, {Namespace: "a", Name: long}} {
		m := mark(k)
		if len(m) > 63 {
			t.Errorf("%s: the mark %s has %d characters", k, m, len(m))
		}
		if other, dup := seen[m]; dup {
			t.Errorf("%s and %s have the mark %s", k, other, m)
		}
		seen[m] = k
	}
}

func TestHistoryIsBoundedAndDoesNotRepeatItself(t *testing.T) {
	var s v1alpha1.ApplicationStatus
	for i := range 15 {
		addHistory(&s, v1alpha1.HistoryEntry{Revision: fmt.Sprint(i), Result: resultApplied, Trigger: triggerWebhook})
	}
	for i := range 5 {
		addHistory(&s, v1alpha1.HistoryEntry{Revision: "14", Result: resultApplied, Trigger: triggerDrift, Updated: int32(i)})
	}
	for range 5 {
		addHistory(&s, v1alpha1.HistoryEntry{Revision: "15", Result: resultRefused, Error: "a.yaml:1: no\na.yaml:2: no"})
	}
	var got []string
	for _, h := range s.History {
		got = append(got, h.Revision+" "+h.Result+" "+h.Trigger+" "+h.Error)
	}
	want := []string{"15 Refused  a.yaml:1: no", "14 Applied drift ", "14 Applied webhook ", "13 Applied webhook ", "12 Applied webhook ", "11 Applied webhook ",
		"10 Applied webhook ", "9 Applied webhook ", "8 Applied webhook ", "7 Applied webhook "}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

// An hour in which a host is down costs it a handful of looks, however short the interval, and not all at the same moment.
func TestAHostThatIsDownForAnHourIsAskedAHandfulOfTimes(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 10 * time.Second, time.Minute, time.Hour} {
		for _, roll := range []float64{0, 0.5, 1} {
			asked, failures := 0, 0
			for down := time.Duration(0); down < time.Hour; down += pollDelay(&metav1.Duration{Duration: interval}, failures, roll) {
				asked++
				failures++
			}
			if asked > 25 {
				t.Errorf("interval %s, roll %v: asked %d times in an hour", interval, roll, asked)
			}
			if next := pollDelay(&metav1.Duration{Duration: interval}, failures, roll); next > max(interval, maxPollDelay)*11/10 {
				t.Errorf("interval %s, roll %v: once it is up again it is not seen for %s", interval, roll, next)
			}
			if first := pollDelay(&metav1.Duration{Duration: interval}, 0, roll); first > interval*11/10 {
				t.Errorf("interval %s, roll %v: after the first look that succeeds the next is in %s", interval, roll, first)
			}
		}
	}
	if pollDelay(nil, 5, 0.1) == pollDelay(nil, 5, 0.9) {
		t.Error("all ask at the same moment")
	}
}

func TestAnApplicationMayBeNestedSoDeepAndNoDeeper(t *testing.T) {
	apps := map[string]*v1alpha1.Application{}
	parent := func(app *v1alpha1.Application) *v1alpha1.Application { return apps[app.Labels["parent"]] }
	for i := range maxLineage + 5 {
		name := fmt.Sprint("a", i)
		apps[name] = &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, Labels: map[string]string{"parent": fmt.Sprint("a", i-1)}}}
	}
	object := func(kind string) *apply.Object {
		o := &source.Object{Content: map[string]any{"kind": kind, "metadata": map[string]any{"name": "next"}}, Origin: v1alpha1.Origin{File: "a.yaml", Line: 3}}
		return &apply.Object{Ref: v1alpha1.ObjectRef{Group: "gitopsd.io", Kind: kind}, Source: o}
	}
	objects := []*apply.Object{object("Application"), object("Other")}
	if got := strings.Join(lineage(apps["a2"], parent), " "); got != "x/a0 x/a1 x/a2" {
		t.Errorf("lineage %s", got)
	}
	if err := tooDeep(objects, lineage(apps[fmt.Sprint("a", maxLineage-2)], parent)); err != nil {
		t.Errorf("one that is not too deep: %v", err)
	}
	for name, from := range map[string]string{"one too deep": fmt.Sprint("a", maxLineage-1), "far too deep": fmt.Sprint("a", maxLineage+3)} {
		err := tooDeep(objects, lineage(apps[from], parent))
		var refused apply.Errors
		if !errors.As(err, &refused) || len(refused) != 1 || refused.Temporary() || !strings.Contains(err.Error(), "Do their folders name each other?") {
			t.Errorf("%s: %v", name, err)
		}
	}
	apps["a0"].Labels["parent"] = "a3"
	if got := lineage(apps["a3"], parent); len(got) <= maxLineage {
		t.Errorf("a circle is %d long", len(got))
	}
}

// held makes an Engine of two Applications of one repository, of which the first looks at a commit.
func held(t *testing.T) (p *pass, other *memory) {
	t.Helper()
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{}, &v1alpha1.Application{}, 0, cache.Indexers{})
	e := &Engine{
		informer: informer, loop: reconcile.New("test", nil), held: map[reconcile.Key]bool{}, marks: map[string]reconcile.Key{},
		memories: map[reconcile.Key]*memory{{Namespace: "x", Name: "one"}: {}, {Namespace: "x", Name: "two"}: {}},
	}
	for k := range e.memories {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}, Spec: v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: "https://git.example.com/x"}}}
		if err := informer.GetIndexer().Add(app); err != nil {
			t.Fatal(err)
		}
	}
	key := reconcile.Key{Namespace: "x", Name: "one"}
	return &pass{Engine: e, key: key, m: e.memories[key], app: e.application(key).DeepCopy(), began: time.Now()}, e.memories[reconcile.Key{Namespace: "x", Name: "two"}]
}

func TestACommitThatDropsSomethingIsHeldUntilOthersHaveReadItAndNoLonger(t *testing.T) {
	drops, keeps := diff.Plan{{Action: diff.Prune}}, diff.Plan{{Action: diff.Update}}
	for name, c := range map[string]struct {
		then func(p *pass, other *memory) error
		free bool
	}{
		"while nothing happens":                {func(p *pass, _ *memory) error { return p.holdForReaders(drops, "b") }, false},
		"once the other has read it":           {func(p *pass, other *memory) error { other.read = "b"; return p.holdForReaders(drops, "b") }, true},
		"when the next commit drops nothing":   {func(p *pass, _ *memory) error { return p.holdForReaders(keeps, "c") }, true},
		"when the next commit drops something": {func(p *pass, _ *memory) error { return p.holdForReaders(drops, "c") }, false},
		"when it has been held for long": {func(p *pass, _ *memory) error {
			p.began = p.began.Add(longestHold + time.Second)
			return p.holdForReaders(drops, "b")
		}, true},
		"when the next was held and it was long": {func(p *pass, _ *memory) error {
			p.began = p.began.Add(longestHold + time.Second)
			return p.holdForReaders(drops, "c")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, other := held(t)
			if err := p.holdForReaders(drops, "b"); err == nil || !p.held[p.key] {
				t.Fatalf("it is not held: %v", err)
			}
			err := c.then(p, other)
			if free := err == nil && !p.held[p.key]; free != c.free || (err == nil) == p.held[p.key] {
				t.Errorf("error %v, held %v; want free %v", err, p.held[p.key], c.free)
			}
		})
	}
}

func TestOnlyTheHealthOfManyObjectsIsNotedLater(t *testing.T) {
	for objects, want := range map[int]time.Duration{0: 0, 1: 0, 100: 0, 101: 50500 * time.Microsecond, 1000: 500 * time.Millisecond, 20_000: time.Second} {
		if got := healthDelay(objects); got != want {
			t.Errorf("%d objects: %s, want %s", objects, got, want)
		}
	}
}

// A note of health alone may wait for those whom a push changes; what else there is to say does not.
func TestOnlyANoteOfHealthGivesWay(t *testing.T) {
	web := v1alpha1.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	rolling := outlook{now: noon, generation: 1, head: source.Commit{Hash: "1"}, measured: true, health: []v1alpha1.ObjectHealth{{ObjectRef: web, Health: "Progressing", Message: "0 of 1"}}}
	for name, c := range map[string]struct {
		change func(*outlook, *v1alpha1.ApplicationStatus)
		want   bool
	}{
		"nothing":        {func(*outlook, *v1alpha1.ApplicationStatus) {}, false},
		"healthy":        {func(o *outlook, _ *v1alpha1.ApplicationStatus) { o.health = nil }, true},
		"degraded":       {func(o *outlook, _ *v1alpha1.ApplicationStatus) { o.late = true }, true},
		"less unhealthy": {func(o *outlook, _ *v1alpha1.ApplicationStatus) { o.health[0].Message = "1 of 2" }, true},
		"healthy and drifted": {func(o *outlook, _ *v1alpha1.ApplicationStatus) {
			o.health, o.drift = nil, []v1alpha1.FieldDrift{{ObjectRef: web}}
		}, false},
		"healthy at another spec": {func(o *outlook, _ *v1alpha1.ApplicationStatus) { o.health, o.generation = nil, 2 }, false},
		"healthy and behind":      {func(o *outlook, _ *v1alpha1.ApplicationStatus) { o.health, o.head.Hash = nil, "2" }, false},
		"healthy, and reverted": {func(o *outlook, s *v1alpha1.ApplicationStatus) {
			o.health = nil
			addHistory(s, v1alpha1.HistoryEntry{Revision: "1", Result: resultApplied, Trigger: triggerDrift})
		}, false},
	} {
		before := v1alpha1.ApplicationStatus{AppliedRevision: "1", UnhealthySince: &metav1.MicroTime{Time: noon}}
		conclude(&before, rolling)
		after, o := before.DeepCopy(), rolling
		o.health = slices.Clone(rolling.health)
		c.change(&o, after)
		conclude(after, o)
		if got := onlyHealth(&before, after); got != c.want {
			t.Errorf("%s: %t\n%s", name, got, cmp.Diff(before, *after))
		}
	}
}
