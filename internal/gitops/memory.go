package gitops

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/health"
	"github.com/gitopsd/gitopsd/internal/source"
)

// memory is what the Engine knows about one Application beyond its API object. None of it matters after a crash.
type memory struct {
	// What follows is touched by the pass only; the loop makes sure that there is one at a time.

	// head is the commit at the ref when last looked at; headErr why the last look failed.
	head    source.Commit
	headErr error
	// born is when the Engine began to run; an answer of a remote from after it is new enough for a start.
	born time.Time
	// extras are what was read, at the last look, of what rendering needs besides Git.
	extras extras
	// looked says that there was a look since the process started; generation and request are the spec's and the annotation's at that time.
	looked     bool
	generation int64
	request    string
	nextPoll   time.Time
	// measuredFor is the generation of the spec that sightings were measured for.
	measuredFor int64
	failures    int
	// heldFor is a commit that waits for others to read it because it drops something, since heldSince.
	heldFor   string
	heldSince time.Time
	// recalled says that the rollout in the status is one that this process knows.
	recalled bool
	// rolling is the fingerprint of the revision under way; empty before it is known.
	rolling string
	// noteAt is when a commit that changes nothing here is noted as applied; zero when there is none.
	noteAt time.Time
	// refusal is why the wanted commit was not applied.
	refusal *refusal
	// latest is the Application as the API returned it to our last write; the informer may not have it yet.
	latest *v1alpha1.Application
	// told is when the status was written last.
	told time.Time
	// reverts remembers when objects were set back, to notice somebody who keeps changing them.
	reverts map[diff.Key][]time.Time

	mu sync.Mutex
	// checks are spec.healthChecks as they were at the generation judgedFor.
	checks    *health.Checks
	judgedFor int64
	// look is a look at Git that somebody asked for, and pushed when the last one began that a push asked for.
	look   *look
	pushed time.Time
	// read is the commit at the ref that a pass has last taken into account, and newest the one that it rendered last: other Applications ask what moves here.
	read   string
	newest *revision
	// askedFor is the commit that another Application last asked this one to look for.
	askedFor string
	// applied is the commit that the cluster is compared with.
	applied *revision
	// settled holds fields that differ from Git's text right after it was applied: the server, or admission, has its own way of writing them, and
	// applying again would change nothing.
	settled map[diff.Key]settlement
	// hooks are those of the rollout under way; every word about one of them is worth a pass.
	hooks map[diff.Key]bool
	// sightings hold what was last seen of each object of the Application.
	sightings map[diff.Key]*sighting
}

// look is a request to look at Git.
type look struct {
	trigger string
	// since is when it was asked for; an answer of the remote from before is too old.
	since time.Time
	// due is when it is to begin; zero for now.
	due time.Time
}

// revision is a commit's objects, ready to be applied.
type revision struct {
	commit source.Commit
	shape  shape
	// objects are those that are kept as Git says; byKey finds them.
	objects []*apply.Object
	byKey   map[diff.Key]*apply.Object
	// inputs are what of the commit they were made of; nil when something beside the commit had a part in it.
	inputs source.Inputs
	// extras is the fingerprint of what they were made of besides the commit.
	extras string
	// hooks are those that are made anew at each sync; left are those that the commit has and that are to be left alone.
	hooks []*apply.Object
	left  map[diff.Key]bool
	// omitted is how many objects of the commit spec.source.omit left out.
	omitted int
	// carried says that nothing which the objects are made of differs from the commit before, so that they are the same ones.
	carried bool
	// partial says that the commit is still on its way: objects of steps that are still to come are as the commit before has them, and those of kinds that are unknown are not there.
	partial bool
	// waiting are the objects of kinds that the cluster does not know yet.
	waiting apply.Errors
	// unsure are objects of the step under way of which a start cannot tell whether they were written.
	unsure map[diff.Key]bool
}

// newRevision sorts a commit's objects.
func newRevision(c source.Commit, from shape, objects []*apply.Object) *revision {
	r := &revision{commit: c, shape: from, byKey: make(map[diff.Key]*apply.Object, len(objects)), left: map[diff.Key]bool{}}
	for _, o := range objects {
		switch {
		case o.Asks.Leave:
			r.left[o.Key] = true
		case len(o.Asks.Hooks) > 0:
			r.hooks = append(r.hooks, o)
		default:
			r.objects = append(r.objects, o)
			r.byKey[o.Key] = o
		}
	}
	return r
}

// unfinished is the revision while something of its sync, such as a hook, is still to be done.
func (r *revision) unfinished() *revision {
	c := *r
	c.partial = true
	return &c
}

// same says whether two revisions ask for the same of the cluster, hooks included. The other may be nil.
func (r *revision) same(other *revision) bool {
	if other == nil || other.partial || len(r.objects) != len(other.objects) || len(r.hooks) != len(other.hooks) {
		return false
	}
	for _, o := range r.objects {
		if old := other.byKey[o.Key]; old == nil || old.Hash != o.Hash {
			return false
		}
	}
	for i, h := range r.hooks {
		if other.hooks[i].Key != h.Key || other.hooks[i].Hash != h.Hash {
			return false
		}
	}
	return true
}

// fingerprint tells what the revision asks of the cluster from what others ask.
func (r *revision) fingerprint() string {
	sum := sha256.New()
	for _, o := range slices.Concat(r.objects, r.hooks) {
		fmt.Fprintf(sum, "%q %x\n", o.Key, o.Hash)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// brought says whether the object was written as part of the revision, just as it is now. The revision may be nil.
func (r *revision) brought(o *apply.Object) bool {
	return r != nil && r.byKey[o.Key] != nil && r.byKey[o.Key].Hash == o.Hash && !r.unsure[o.Key]
}

// has says whether the commit names an object that is to be there between syncs.
func (r *revision) has(k diff.Key) bool { return r.byKey[k] != nil || r.left[k] }

// shape is the part of a spec that the objects depend on besides the commit; url is without credentials.
type shape struct {
	url, path, namespace string
	// rendering is the text of that part of spec.source, so that shapes can be compared.
	rendering string
}

func shapeOf(s v1alpha1.ApplicationSpec) shape {
	return shape{source.Redact(s.Source.RepoURL), s.Source.Path, s.TargetNamespace, renderingText(s.Source.Rendering)}
}

// refusal is a commit that was not applied, and why.
type refusal struct {
	commit     string
	generation int64
	err        error
	// temporary says that the same commit may pass later; then it is tried again at the next poll.
	temporary bool
	// stage is "source" when the commit's files are at fault, "apply" when the cluster did not take them.
	stage string
}

// sighting is what was last seen of one object.
type sighting struct {
	// version is the resourceVersion of the live object.
	version uint64
	// hash is that of the desired object which drift was measured against.
	hash [sha256.Size]byte
	// missing says that the object is not in the cluster.
	missing bool
	drift   []diff.Field
	health  health.Health
	// override keeps the object as it is; nil is none.
	override *v1alpha1.Override
	// unmeasured is the live object while it is not known yet what Git wants of it, between a start and the first pass.
	unmeasured *unstructured.Unstructured
}

// clean says that the object is there and as Git's object with this hash wants it.
func (r *sighting) clean(hash [sha256.Size]byte) bool {
	return r != nil && !r.missing && r.unmeasured == nil && r.hash == hash && len(r.drift) == 0
}

// settlement is the live value of each settled field of an object, as text, by the field's path.
type settlement map[string]string

// settle returns the settlement that the live object after an apply stands for; nil when it is just as Git says.
func settle(drift []diff.Field) settlement {
	if len(drift) == 0 {
		return nil
	}
	s := make(settlement, len(drift))
	for _, f := range drift {
		s[f.Path] = diff.Text(f.Live)
	}
	return s
}

// covers says whether the difference is settled.
func (s settlement) covers(f diff.Field) bool {
	live, ok := s[f.Path]
	return ok && live == diff.Text(f.Live)
}

// judge is what an Application says about how its objects are compared and judged.
type judge struct {
	ignore    []v1alpha1.IgnoreDifference
	normalize diff.Normalize
	checks    *health.Checks
}

// judgeFor reads the spec. Compiled expressions are kept until it changes.
func (e *Engine) judgeFor(app *v1alpha1.Application) judge {
	m := e.memory(keyOf(app))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.judgedFor != app.Generation {
		checks, err := health.Compile(app.Spec.HealthChecks)
		if err != nil {
			e.log.Error("the API server has accepted health checks that do not compile", "application", keyOf(app).String(), "err", err)
		}
		m.checks, m.judgedFor = checks, app.Generation
	}
	return judge{ignore: app.Spec.IgnoreDifferences, normalize: e.normalize, checks: m.checks}
}

// measure compares a live object with what Git wants of it; live is nil when it is gone.
func measure(o *apply.Object, live *unstructured.Unstructured, s settlement, j judge) *sighting {
	if live == nil {
		return &sighting{missing: true, hash: o.Hash, health: health.Health{Status: health.Progressing, Message: "it is not in the cluster"}}
	}
	r := &sighting{version: versionOf(live), hash: o.Hash, health: j.checks.Of(live), override: diff.OverrideOf(live)}
	r.drift, _ = diff.Split(diff.Fields(o.Desired, live, j.normalize), o.Ref, j.ignore)
	r.drift = slices.DeleteFunc(r.drift, s.covers)
	if o.Asks.Once {
		r.drift = nil // it belongs to others now
	}
	return r
}

// versionOf reads a resourceVersion; the API promises that those of one resource can be compared as numbers.
func versionOf(u *unstructured.Unstructured) uint64 { return versionText(u.GetResourceVersion()) }

func versionText(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// ask notes that somebody wants Git looked at, and returns when that is due. The first of several wishes names the trigger, the last one the time from which
// an answer counts; all of them are one look, at the earliest time that one of them is due.
func (m *memory) ask(trigger string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	due := dueAt(trigger, m.pushed, now)
	if m.look == nil {
		m.look = &look{trigger: trigger, due: due}
	}
	m.look.since = now
	if due.Before(m.look.due) {
		m.look.due = due
	}
	return m.look.due
}

// asked takes the wish, if there is one that is due; of one that is not it says how long it has to wait.
func (m *memory) asked(now time.Time) (*look, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.look
	if l == nil {
		return nil, 0
	}
	if wait := l.due.Sub(now); wait > 0 {
		return nil, wait
	}
	if l.trigger == triggerWebhook {
		m.pushed = now
	}
	m.look = nil
	return l, 0
}

// unask drops the wish.
func (m *memory) unask() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look = nil
}

// see notes what a watch says of an object, and returns whether a pass has something to do about it, and how long that may wait.
func (m *memory) see(k diff.Key, live *unstructured.Unstructured, j judge) (wait time.Duration, news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hooks[k] {
		return 0, true
	}
	before := m.sightings[k]
	if live != nil && before != nil && before.version >= versionOf(live) {
		return 0, false // an event from before our own write, or that write itself
	}
	if m.applied == nil {
		if live != nil {
			m.sightings[k] = &sighting{version: versionOf(live), unmeasured: live}
		} else {
			delete(m.sightings, k)
		}
		return 0, false // the first pass measures it
	}
	o := m.applied.byKey[k]
	if o == nil {
		return 0, false // not, or no longer, an object of the commit
	}
	now := measure(o, live, m.settled[k], j)
	if before != nil {
		stillRemoved(before.drift, now.drift)
	}
	m.sightings[k] = now
	if before == nil || before.missing != now.missing || !sameDrift(before.drift, now.drift) || !reflect.DeepEqual(before.override, now.override) {
		return 0, true
	}
	return healthDelay(len(m.applied.objects)), before.health != now.health
}

// stillRemoved keeps who removed a field: nobody holds it, so only the note about the object's last change can say, and by now that may be
// about another change.
func stillRemoved(before, now []diff.Field) {
	for i := range now {
		f := &now[i]
		if f.HasLive || f.Manager != "" {
			continue
		}
		for _, old := range before {
			if old.Path == f.Path && !old.HasLive && old.User != "" {
				f.User, f.Time = old.User, old.Time
			}
		}
	}
}

func sameDrift(a, b []diff.Field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Path != b[i].Path || diff.Text(a[i].Live) != diff.Text(b[i].Live) || a[i].Manager != b[i].Manager || a[i].User != b[i].User {
			return false
		}
	}
	return true
}

// adopt makes a revision the one that the cluster is compared with. measured are the objects that were just read or written; what was seen of the
// others is measured anew if Git's text of them changed.
func (m *memory) adopt(r *revision, measured map[diff.Key]*sighting, j judge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied = r; !r.partial {
		m.newest = r
		m.hooks = nil // of a commit that did not get so far
	}
	for k, rec := range measured {
		if old := m.sightings[k]; old == nil || rec.missing || old.version <= rec.version {
			m.sightings[k] = rec
		}
	}
	for k, rec := range m.sightings {
		o := r.byKey[k]
		switch {
		case o == nil:
			delete(m.sightings, k)
		case rec.unmeasured != nil:
			m.sightings[k] = measure(o, rec.unmeasured, m.settled[k], j)
		case rec.hash != o.Hash:
			delete(m.sightings, k) // whoever needs it reads it
		}
	}
}

// expect makes hooks the ones that are followed.
func (m *memory) expect(hooks []*apply.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks = make(map[diff.Key]bool, len(hooks))
	for _, o := range hooks {
		m.hooks[o.Key] = true
	}
}

// finish makes a revision the applied one after its last step.
func (m *memory) finish(r *revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied, m.hooks = r, nil
}

// interrupt notes that another commit was on its way when the process started: the applied one is no longer what the cluster is, and nothing may be pruned by it.
func (m *memory) interrupt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied != nil {
		m.applied = m.applied.unfinished()
	}
}

// wrote measures an object that was just applied, and settles what it differs in.
func (m *memory) wrote(o *apply.Object, live *unstructured.Unstructured, j judge) *sighting {
	r := measure(o, live, nil, j)
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := settle(r.drift); s != nil {
		m.settled[o.Key] = s
	} else {
		delete(m.settled, o.Key)
	}
	r.drift = nil
	return r
}

// settlement returns what is settled about an object.
func (m *memory) settlement(k diff.Key) settlement {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settled[k]
}

// sighting returns what was seen of an object; nil for nothing.
func (m *memory) sighting(k diff.Key) *sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sightings[k]
}

// put notes an object that was just read.
func (m *memory) put(k diff.Key, r *sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.sightings[k]; old != nil && old.hash == r.hash && !r.missing && old.version > r.version {
		return // a watch was faster
	}
	m.sightings[k] = r
}

// remeasure forgets what was seen, because the spec says differently what counts as drift. Whoever needs it reads it.
func (m *memory) remeasure() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.sightings)
}
