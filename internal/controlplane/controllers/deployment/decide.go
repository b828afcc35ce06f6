package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Observed is everything a decision rests on.
type Observed struct {
	Deployment *appsv1.Deployment
	Sets       []*appsv1.ReplicaSet        // all ReplicaSets the Deployment owns
	Pods       map[types.UID][]*corev1.Pod // per ReplicaSet; looked at only for the Recreate strategy
	Now        time.Time
}

// Actions is one step of a rollout.
type Actions struct {
	Create   *appsv1.ReplicaSet      // the ReplicaSet of the present template, where there is none
	Update   []Update                // in the order to be done
	Delete   []*appsv1.ReplicaSet    // old ones beyond the history limit
	Revision string                  // the Deployment's revision annotation; "" leaves it
	Status   appsv1.DeploymentStatus // what the status should be
	Recheck  time.Duration           // when to look again without an event; 0 never
}

// Update changes one existing ReplicaSet.
type Update struct {
	Set             *appsv1.ReplicaSet
	Replicas        int32
	Annotations     map[string]string
	MinReadySeconds int32
}

// starts says whether there will be more Pods of the Deployment's template.
func (a *Actions) starts(d *appsv1.Deployment) bool {
	return a.Create != nil && size(a.Create) > 0 || slices.ContainsFunc(a.Update, func(u Update) bool {
		return u.Replicas > size(u.Set) && sameTemplate(&d.Spec.Template, &u.Set.Spec.Template)
	})
}

// step collects what a decision changes, on copies, so that later parts of it see what earlier ones did.
type step struct {
	Observed
	d       *appsv1.Deployment
	current *appsv1.ReplicaSet   // of the present template; nil when there is none
	old     []*appsv1.ReplicaSet // all others, oldest first
	create  bool
	before  map[types.UID]*appsv1.ReplicaSet
}

// Decide makes the next step.
func Decide(o Observed) Actions {
	s := newStep(o)
	d := o.Deployment
	switch {
	case d.DeletionTimestamp != nil:
		return s.actions()
	case d.Spec.Paused, rolling(d) && s.beingScaled():
		s.refreshCurrent()
		s.scale()
	case rolling(d):
		s.roll()
	default:
		s.recreate()
	}
	return s.actions()
}

func newStep(o Observed) *step {
	s := &step{Observed: o, d: o.Deployment, before: map[types.UID]*appsv1.ReplicaSet{}}
	sets := slices.Clone(o.Sets)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range sets {
		s.before[rs.UID] = rs
		work := rs.DeepCopy()
		// Of several equal ones the oldest counts, so that every pass chooses the same.
		if s.current == nil && sameTemplate(&s.d.Spec.Template, &rs.Spec.Template) {
			s.current = work
			continue
		}
		s.old = append(s.old, work)
	}
	return s
}

// all are the ReplicaSets that exist, the current one included.
func (s *step) all() []*appsv1.ReplicaSet {
	if s.current == nil || s.create {
		return s.old
	}
	return append(slices.Clone(s.old), s.current)
}

func (s *step) desired() int32 { return ptr.Deref(s.d.Spec.Replicas, 1) }

// beingScaled says whether spec.replicas changed since the ReplicaSets were last sized. That is answered before a rollout goes on,
// so that the change is shared by old and new in proportion.
func (s *step) beingScaled() bool {
	for _, rs := range s.all() {
		if size(rs) == 0 {
			continue
		}
		if then, ok := desiredThen(rs); ok && then != s.desired() {
			return true
		}
	}
	return false
}

func (s *step) revision() int64 {
	var highest int64
	for _, rs := range s.old {
		highest = max(highest, revisionOf(rs.Annotations))
	}
	return highest + 1
}

// refreshCurrent carries the Deployment's annotations, revision and minReadySeconds over to the current ReplicaSet.
func (s *step) refreshCurrent() {
	if s.current == nil {
		return
	}
	s.current.Annotations = newSetAnnotations(s.d, s.current.Annotations, s.revision())
	if _, ok := desiredThen(s.current); !ok {
		s.current.Annotations = sized(s.d, s.current.Annotations)
	}
	s.current.Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
}

// ensureCurrent finds or makes the ReplicaSet of the present template, of that size if it is made.
func (s *step) ensureCurrent(replicas int32) {
	if s.current != nil {
		s.refreshCurrent()
		return
	}
	hash := templateHash(&s.d.Spec.Template, s.d.Status.CollisionCount)
	template := *s.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := s.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	s.create = true
	s.current = &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       s.d.Namespace,
			Name:            s.d.Name + "-" + hash,
			Labels:          template.Labels,
			Annotations:     sized(s.d, newSetAnnotations(s.d, nil, s.revision())),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.d, Kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        &replicas,
			MinReadySeconds: s.d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        template,
		},
	}
}

func withHash(labels map[string]string, hash string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return out
}

// resize sets a ReplicaSet's size and notes the Deployment's.
func (s *step) resize(rs *appsv1.ReplicaSet, n int32) {
	rs.Spec.Replicas = &n
	rs.Annotations = sized(s.d, rs.Annotations)
}

// recreate lets all old Pods end before the first new one starts: two versions never run at the same time.
func (s *step) recreate() {
	for _, rs := range s.old {
		if size(rs) > 0 {
			s.resize(rs, 0)
		}
	}
	if s.current == nil && s.oldPodsLeft() {
		return
	}
	s.ensureCurrent(s.desired())
	if !s.create && size(s.current) != s.desired() && !s.oldPodsLeft() {
		s.resize(s.current, s.desired())
	}
}

func (s *step) oldPodsLeft() bool {
	for _, rs := range s.old {
		// Until its controller has seen that it is to have none it may still make one.
		if s.sizeBefore(rs) > 0 || rs.Status.ObservedGeneration < rs.Generation || slices.ContainsFunc(s.Pods[rs.UID], func(p *corev1.Pod) bool { return !podstate.Finished(p) }) {
			return true
		}
	}
	return false
}

func (s *step) sizeBefore(rs *appsv1.ReplicaSet) int32 {
	if b := s.before[rs.UID]; b != nil {
		return size(b)
	}
	return 0
}

func size(rs *appsv1.ReplicaSet) int32 { return ptr.Deref(rs.Spec.Replicas, 1) }

func total(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += size(rs)
	}
	return n
}

// available is how many of rs's Pods can be relied on. Just after a scale-down the status still counts Pods that are about to go.
func available(rs *appsv1.ReplicaSet) int32 { return min(rs.Status.AvailableReplicas, size(rs)) }

func totalAvailable(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += available(rs)
	}
	return n
}

// actions compares the step's copies with what was observed.
func (s *step) actions() Actions {
	var a Actions
	if s.create {
		a.Create = s.current
	}
	for _, rs := range s.all() {
		b := s.before[rs.UID]
		if size(b) != size(rs) || b.Spec.MinReadySeconds != rs.Spec.MinReadySeconds || !maps.Equal(b.Annotations, rs.Annotations) {
			a.Update = append(a.Update, Update{Set: b, Replicas: size(rs), Annotations: rs.Annotations, MinReadySeconds: rs.Spec.MinReadySeconds})
		}
	}
	// What adds Pods goes first: the others may have to wait for it to be ready.
	slices.SortStableFunc(a.Update, func(x, y Update) int { return cmp.Compare(y.Replicas-size(y.Set), x.Replicas-size(x.Set)) })
	if s.current != nil {
		if r := s.current.Annotations[annotationRevision]; r != s.d.Annotations[annotationRevision] {
			a.Revision = r
		}
	}
	a.Status, a.Recheck = s.status()
	if s.d.DeletionTimestamp == nil {
		a.Delete = s.outdated(a.Status)
	}
	return a
}

// outdated are the old, empty ReplicaSets beyond the history limit. None goes while a rollout is under way: it might be the one to go back to.
func (s *step) outdated(status appsv1.DeploymentStatus) []*appsv1.ReplicaSet {
	if s.d.Spec.RevisionHistoryLimit == nil || !(complete(s.d, status) || s.d.Spec.Paused) {
		return nil
	}
	var idle []*appsv1.ReplicaSet
	for _, rs := range s.old {
		b := s.before[rs.UID]
		if size(rs) == 0 && size(b) == 0 && b.Status.Replicas == 0 && b.DeletionTimestamp == nil && b.Status.ObservedGeneration >= b.Generation {
			idle = append(idle, b)
		}
	}
	// Only history counts against the limit: a ReplicaSet that still has Pods is not history yet.
	excess := len(idle) - int(*s.d.Spec.RevisionHistoryLimit)
	if excess <= 0 {
		return nil
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(revisionOf(a.Annotations), revisionOf(b.Annotations))
	})
	return idle[:excess]
}

// describe says a size change the way ScalingReplicaSet Events do.
func describe(name string, from, to int32) string {
	direction := "up"
	if to < from {
		direction = "down"
	}
	return fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, name, from, to)
}
