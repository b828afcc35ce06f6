package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
)

// roll makes one step of a rolling update: grow the current ReplicaSet as far as the surge allows, or else shrink old ones as far as
// availability allows. Both bounds are taken from what is, so a step repeated or made late is never too large.
func (s *step) roll() {
	if s.current == nil {
		s.ensureCurrent(min(s.desired(), max(0, s.desired()+maxSurge(s.d)-total(s.old))))
		if size(s.current) > 0 {
			return
		}
	} else {
		s.ensureCurrent(0)
		if s.growCurrent() {
			return
		}
	}
	s.shrinkOld()
}

// growCurrent sizes the current ReplicaSet; it says whether that changed anything.
func (s *step) growCurrent() bool {
	now, desired := size(s.current), s.desired()
	next := now
	switch {
	case now > desired:
		next = desired
	case now < desired:
		next = now + max(0, min(desired-now, desired+maxSurge(s.d)-total(s.all())))
	}
	if next == now {
		return false
	}
	s.resize(s.current, next)
	return true
}

func (s *step) shrinkOld() {
	if total(s.old) == 0 {
		return
	}
	least := s.desired() - maxUnavailable(s.d)
	s.shrinkUnavailable(least)
	// Then available ones, as far as what is available elsewhere allows.
	spare := totalAvailable(s.old) - least
	if !s.create {
		spare += available(s.current)
	}
	for _, rs := range s.old {
		n := min(size(rs), spare)
		if n <= 0 {
			continue
		}
		s.resize(rs, size(rs)-n)
		spare -= n
	}
}

// shrinkUnavailable takes away old Pods that serve nobody: nothing is lost with them, and a rollout that replaces a broken version would
// otherwise wait for it to get well. Pods of the current ReplicaSet that are still starting count as lost, or two steps in quick succession
// could both rely on the same Pods.
func (s *step) shrinkUnavailable(least int32) {
	room := total(s.old) - least
	if !s.create {
		room += available(s.current)
	}
	for _, rs := range s.old {
		n := min(size(rs)-available(rs), room)
		if n <= 0 {
			continue
		}
		s.resize(rs, size(rs)-n)
		room -= n
	}
}

// scale answers a change of spec.replicas. With one ReplicaSet in use it takes the whole change; during a rollout each in use takes its
// share, so that the risk of the rollout stays what it was (the API's documentation calls this proportional scaling).
func (s *step) scale() {
	sets := s.all()
	inUse := slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return size(rs) == 0 })
	switch {
	case len(inUse) <= 1:
		only := s.latest(inUse, sets)
		if only == nil {
			return
		}
		then, ok := desiredThen(only)
		if size(only) != s.desired() || !ok || then != s.desired() {
			s.resize(only, s.desired())
		}
	case s.saturated():
		for _, rs := range s.old {
			if size(rs) > 0 {
				s.resize(rs, 0)
			}
		}
		if then, ok := desiredThen(s.current); !ok || then != s.desired() {
			s.resize(s.current, s.desired())
		}
	case rolling(s.d):
		s.scaleInProportion(inUse)
	}
}

// latest is the one ReplicaSet to scale: the one in use, or else the current one, or else the newest.
func (s *step) latest(inUse, all []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	switch {
	case len(inUse) == 1:
		return inUse[0]
	case s.current != nil && !s.create:
		return s.current
	case len(all) > 0:
		return all[len(all)-1]
	}
	return nil
}

// saturated says that the rollout is over but for the old ReplicaSets' leftovers.
func (s *step) saturated() bool {
	if s.current == nil || s.create {
		return false
	}
	then, ok := desiredThen(s.current)
	return ok && then == s.desired() && size(s.current) == s.desired() && s.current.Status.AvailableReplicas == s.desired()
}

func (s *step) scaleInProportion(inUse []*appsv1.ReplicaSet) {
	allowed := int32(0)
	if s.desired() > 0 {
		allowed = s.desired() + maxSurge(s.d)
	}
	change := allowed - total(inUse)
	// The largest go first and the newest of equals when growing, the oldest when shrinking: rounding then favours the newer version.
	slices.SortStableFunc(inUse, func(a, b *appsv1.ReplicaSet) int {
		age := b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
		if change < 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(size(b), size(a)), age)
	})
	left := change
	next := make([]int32, len(inUse))
	for i, rs := range inUse {
		part := s.proportion(rs, allowed)
		if change > 0 {
			part = max(0, min(part, left))
		} else {
			part = min(0, max(part, left))
		}
		next[i] = max(0, size(rs)+part)
		left -= part
	}
	if len(next) > 0 && left != 0 {
		next[0] = max(0, next[0]+left) // what rounding left over
	}
	s.spare(inUse, next)
	for i, rs := range inUse {
		s.resize(rs, next[i])
	}
}

// spare shifts what shrinking takes from Pods that are available to Pods that are not, as far as there are too few of the former: a share is a share of all
// Pods, and the limit of unavailable ones holds all the same.
func (s *step) spare(inUse []*appsv1.ReplicaSet, next []int32) {
	short := s.desired() - maxUnavailable(s.d)
	for i, rs := range inUse {
		short -= min(available(rs), next[i])
	}
	for i, rs := range inUse {
		for j, other := range inUse {
			n := min(short, available(rs)-next[i], next[j]-available(other))
			if i != j && n > 0 {
				next[i], next[j], short = next[i]+n, next[j]-n, short-n
			}
		}
	}
}

// proportion is by how much rs should change when the allowed total becomes what it is now.
func (s *step) proportion(rs *appsv1.ReplicaSet, allowed int32) int32 {
	then, ok := maxThen(rs)
	if !ok || then == 0 {
		then = max(1, s.d.Status.Replicas)
	}
	return int32(math.Round(float64(size(rs))*float64(allowed)/float64(then))) - size(rs)
}
