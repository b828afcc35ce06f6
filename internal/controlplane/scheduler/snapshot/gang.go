package snapshot

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Gang is the Pods that are placed together or not at all.
type Gang struct {
	Key     string        // which gang; "" if the Pod does not say it well enough
	Minimum int           // how many have to have a place
	Timeout time.Duration // how long the Pods wait for each other; 0 for as long as it takes
	Fault   string        // what is wrong with what the Pod says; "" for nothing
}

// gangOf reads the annotations of a Pod; nil for one that is in no gang.
func gangOf(pod *corev1.Pod) *Gang {
	minimum, ok := pod.Annotations[v1alpha1.AnnotationGangMinimum]
	if !ok {
		return nil
	}
	g := &Gang{}
	n, err := strconv.ParseInt(minimum, 10, 32)
	if err != nil || n < 1 {
		g.Fault = fmt.Sprintf("annotation %s is %q; a whole number of at least 1 is expected", v1alpha1.AnnotationGangMinimum, minimum)
		return g
	}
	g.Minimum = int(n)
	if t, ok := pod.Annotations[v1alpha1.AnnotationGangTimeout]; ok {
		if g.Timeout, err = time.ParseDuration(t); err != nil || g.Timeout <= 0 {
			g.Fault = fmt.Sprintf("annotation %s is %q; a duration such as 10m is expected", v1alpha1.AnnotationGangTimeout, t)
			return g
		}
	}
	switch owner := metav1.GetControllerOfNoCopy(pod); {
	case pod.Annotations[v1alpha1.AnnotationGangName] != "":
		g.Key = pod.Namespace + "/" + pod.Annotations[v1alpha1.AnnotationGangName]
	case owner != nil:
		g.Key = pod.Namespace + "/" + owner.Kind + "/" + string(owner.UID)
	default:
		g.Fault = fmt.Sprintf("it has annotation %s but no controller; annotation %s has to say with which Pods it belongs together",
			v1alpha1.AnnotationGangMinimum, v1alpha1.AnnotationGangName)
	}
	return g
}

// gangs counts the members that have, or had, their place.
type gangs struct {
	placed    map[string]int
	succeeded map[types.UID]string // the gang of each Pod that did what it was there for
	done      map[string]int
}

func newGangs() gangs {
	return gangs{placed: map[string]int{}, succeeded: map[types.UID]string{}, done: map[string]int{}}
}

// GangPlaced is how many members of a gang have a place, or have succeeded: what is done needs no company any more. Those that are being deleted do not count.
func (s *Snapshot) GangPlaced(key string) int { return s.gangs.placed[key] + s.gangs.done[key] }

func (s *Snapshot) countGang(p *Pod, times int) {
	if p.Gang == nil || p.Gang.Key == "" || p.Object.DeletionTimestamp != nil {
		return
	}
	if s.gangs.placed[p.Gang.Key] += times; s.gangs.placed[p.Gang.Key] == 0 {
		delete(s.gangs.placed, p.Gang.Key)
	}
}

// Succeed takes in that a Pod has succeeded; Forget that it is gone.
func (s *Snapshot) Succeed(pod *corev1.Pod) {
	g := gangOf(pod)
	if g == nil || g.Key == "" || s.gangs.succeeded[pod.UID] != "" {
		return
	}
	s.gangs.succeeded[pod.UID] = g.Key
	s.gangs.done[g.Key]++
}

// Forget undoes Succeed.
func (s *Snapshot) Forget(uid types.UID) {
	key, ok := s.gangs.succeeded[uid]
	if !ok {
		return
	}
	delete(s.gangs.succeeded, uid)
	if s.gangs.done[key]--; s.gangs.done[key] == 0 {
		delete(s.gangs.done, key)
	}
}
