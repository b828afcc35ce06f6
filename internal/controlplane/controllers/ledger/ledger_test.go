package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// cached makes a find function of objects by name.
func cached(objs ...*metav1.ObjectMeta) func(string) (metav1.Object, bool) {
	return func(name string) (metav1.Object, bool) {
		for _, o := range objs {
			if o.Name == name {
				return o, true
			}
		}
		return nil, false
	}
}

func TestACreateCountsUntilItIsSeenOrTheCacheHasPassedIt(t *testing.T) {
	var l Ledger
	look := func(version string, objs ...*metav1.ObjectMeta) Open { return l.Look("rs", version, cached(objs...)) }
	want := func(step string, got, want Open) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	l.Creating("rs", "a")
	l.Creating("rs", "b")
	want("before the answers", look("9"), Open{Creating: 2})
	l.Created("rs", "a", "10")
	l.Created("rs", "b", "12")
	want("answered", look("9"), Open{Creating: 2})
	want("one is seen", look("9", &metav1.ObjectMeta{Name: "a"}), Open{Creating: 1})
	want("the other came and went unseen", look("12"), Open{})
}

func TestAnEarlierObjectOfThatNameIsNotTheOneCreated(t *testing.T) {
	var l Ledger
	l.Creating("rs", "a")
	l.CreateUnsure("rs", "a") // it was there, at 4; somebody removed it; and it was created again
	l.Created("rs", "a", "7")
	if diff := cmp.Diff(Open{Creating: 1}, l.Look("rs", "5", cached(&metav1.ObjectMeta{Name: "a", ResourceVersion: "4"}))); diff != "" {
		t.Errorf("while the cache shows the earlier one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Open{}, l.Look("rs", "", cached(&metav1.ObjectMeta{Name: "a", ResourceVersion: "9"}))); diff != "" {
		t.Errorf("once it shows the later one (-want +got):\n%s", diff)
	}
}

func TestALostAnswerIsNotForgottenBecauseALaterAttemptWasRefused(t *testing.T) {
	var l Ledger
	l.Creating("rs", "a")
	l.CreateUnsure("rs", "a")
	l.Creating("rs", "a")
	l.CreateRefused("rs", "a")
	if diff := cmp.Diff(Open{Creating: 1, Recreate: []string{"a"}}, l.Look("rs", "", cached())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.NotCreated("rs", "a")
	if diff := cmp.Diff(Open{}, l.Look("rs", "", cached())); diff != "" {
		t.Errorf("once it is known that there is none (-want +got):\n%s", diff)
	}
}

func TestADeleteCountsWhileTheCacheShowsTheObjectAlive(t *testing.T) {
	var l Ledger
	alive := &metav1.ObjectMeta{Name: "a", UID: "1"}
	l.Deleting("rs", Deletion{Name: "a", UID: "1"})
	l.DeleteUnsure("rs", "1")
	want := Open{Deleting: sets.New[types.UID]("1"), Redelete: []Deletion{{Name: "a", UID: "1"}}}
	if diff := cmp.Diff(want, l.Look("rs", "", cached(alive))); diff != "" {
		t.Errorf("not yet seen (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Open{}, l.Look("rs", "", cached(&metav1.ObjectMeta{Name: "a", UID: "2"}))); diff != "" {
		t.Errorf("another object of that name is another object (-want +got):\n%s", diff)
	}
}
