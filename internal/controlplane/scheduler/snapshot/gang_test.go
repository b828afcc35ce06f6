package snapshot

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

func gangPod(t *testing.T, line string, annotations map[string]string) *corev1.Pod {
	t.Helper()
	p := podtest.Line(t, line)
	p.Annotations = annotations
	return p
}

func TestAGangIsThePodsOfOneControllerOrOfOneName(t *testing.T) {
	const minimum, name, timeout = v1alpha1.AnnotationGangMinimum, v1alpha1.AnnotationGangName, v1alpha1.AnnotationGangTimeout
	for what, c := range map[string]struct {
		pod  *corev1.Pod
		want *Gang
	}{
		"no annotation": {gangPod(t, "a owner=Job/train", nil), nil},
		"a Job's":       {gangPod(t, "a owner=Job/train", map[string]string{minimum: "3"}), &Gang{Key: "default/Job/uid-train", Minimum: 3}},
		"a name's": {
			gangPod(t, "a owner=Job/train", map[string]string{minimum: "3", name: "both", timeout: "5m"}),
			&Gang{Key: "default/both", Minimum: 3, Timeout: 5 * time.Minute},
		},
		"nobody's": {gangPod(t, "a", map[string]string{minimum: "3"}), &Gang{Minimum: 3,
			Fault: "it has annotation gitopsd.io/gang-minimum but no controller; annotation gitopsd.io/gang-name has to say with which Pods it belongs together"}},
		"no number": {gangPod(t, "a", map[string]string{minimum: "all", name: "x"}), &Gang{
			Fault: `annotation gitopsd.io/gang-minimum is "all"; a whole number of at least 1 is expected`}},
		"no duration": {gangPod(t, "a", map[string]string{minimum: "1", name: "x", timeout: "-5m"}), &Gang{Minimum: 1, Timeout: -5 * time.Minute,
			Fault: `annotation gitopsd.io/gang-timeout is "-5m"; a duration such as 10m is expected`}},
	} {
		if diff := cmp.Diff(c.want, gangOf(c.pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestMembersCountWhileTheyHaveTheirPlaceAndAfterTheySucceeded(t *testing.T) {
	s := New()
	n := &corev1.Node{}
	n.Name = "n1"
	s.SetNode(n)
	member := func(line string) *corev1.Pod {
		return gangPod(t, line, map[string]string{v1alpha1.AnnotationGangMinimum: "3", v1alpha1.AnnotationGangName: "train"})
	}
	const key = "default/train"
	count := func(what string, want int) {
		t.Helper()
		if got := s.GangPlaced(key); got != want {
			t.Errorf("%s: %d members count, want %d", what, got, want)
		}
	}
	a, b := member("a node=n1"), member("b node=n1")
	s.Place(NewPod(a), "n1")
	s.Place(NewPod(b), "n1")
	s.Place(NewPod(member("going node=n1 terminating")), "n1")
	count("two placed and one being deleted", 2)
	s.Remove(a.UID)
	s.Succeed(a)
	s.Succeed(a)
	count("one succeeded", 2)
	s.Remove(b.UID)
	count("one gone", 1)
	s.Forget(a.UID)
	s.Forget(b.UID)
	count("all gone", 0)
	if len(s.gangs.placed)+len(s.gangs.done)+len(s.gangs.succeeded) != 0 {
		t.Errorf("something is remembered of a gang that is gone: %+v", s.gangs)
	}
}
