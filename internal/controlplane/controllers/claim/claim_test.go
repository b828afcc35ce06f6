package claim

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

var (
	kind  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	owner = &metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "own"}
	web   = labels.SelectorFromSet(labels.Set{"app": "web"})
)

func pod(name, app, controller string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}}}
	if controller != "" {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "own", Controller: ptr.To(true)}}
		if controller != "own" {
			p.OwnerReferences[0].UID = "other"
		}
	}
	return p
}

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestAnOwnerKeepsWhatMatchesTakesOrphansAndLetsTheRestGo(t *testing.T) {
	dying := pod("dying orphan", "web", "")
	dying.DeletionTimestamp = &metav1.Time{}
	candidates := []*corev1.Pod{
		pod("mine", "web", "own"), pod("relabelled", "db", "own"), pod("orphan", "web", ""), pod("unrelated", "db", ""),
		pod("somebody's", "web", "other"), dying,
	}
	s := Sort(owner, web, candidates)
	got := map[string][]string{"own": names(s.Own), "adopt": names(s.Adopt), "release": names(s.Release)}
	want := map[string][]string{"own": {"mine"}, "adopt": {"orphan"}, "release": {"relabelled"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	leaving := owner.DeepCopy()
	leaving.DeletionTimestamp = &metav1.Time{}
	s = Sort(leaving, web, candidates)
	if len(s.Adopt)+len(s.Release) > 0 {
		t.Errorf("an owner that is being deleted adopts %v and releases %v", names(s.Adopt), names(s.Release))
	}
}

func TestAnOwnerThatWasReplacedByAnotherOfItsNameAdoptsNothing(t *testing.T) {
	own, err := Settle(context.Background(), owner, kind, Sorted[*corev1.Pod]{Adopt: []*corev1.Pod{pod("orphan", "web", "")}},
		func(context.Context) (metav1.Object, error) { return &metav1.ObjectMeta{UID: "new"}, nil },
		func(context.Context, string, []byte) (*corev1.Pod, error) {
			t.Error("patched")
			return nil, nil
		})
	if err != nil || len(own) > 0 {
		t.Errorf("owns %v, %v", names(own), err)
	}
}

func TestAnObjectThatIsGoneByThenIsNoFailure(t *testing.T) {
	own, err := Settle(context.Background(), owner, kind, Sorted[*corev1.Pod]{
		Own: []*corev1.Pod{pod("mine", "web", "own")}, Adopt: []*corev1.Pod{pod("orphan", "web", "")}, Release: []*corev1.Pod{pod("old", "db", "own")},
	},
		func(context.Context) (metav1.Object, error) { return owner, nil },
		func(_ context.Context, name string, _ []byte) (*corev1.Pod, error) {
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
		})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mine"}, names(own)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
