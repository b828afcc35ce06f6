package ledger

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAWriteIsWaitedForUntilTheCacheShowsItOrHasPassedIt(t *testing.T) {
	var u Unseen
	look := func(version string, objs ...*metav1.ObjectMeta) ([]string, bool) {
		return u.Look("d", version, cached(objs...))
	}
	want := func(step string, ask []string, wait bool, wantAsk []string, wantWait bool) {
		t.Helper()
		if !slices.Equal(ask, wantAsk) || wait != wantWait {
			t.Errorf("%s: ask about %v, wait %v; want %v, %v", step, ask, wait, wantAsk, wantWait)
		}
	}
	u.Writing("d", "a")
	u.Writing("d", "b")
	u.Writing("d", "c")
	u.Wrote("d", "a", "10")
	u.Absent("d", "c")
	ask, wait := look("9", &metav1.ObjectMeta{Name: "a", ResourceVersion: "8"})
	want("one is answered, one is not", ask, wait, []string{"b"}, true)
	u.Wrote("d", "b", "12") // as the API server says when asked
	ask, wait = look("10", &metav1.ObjectMeta{Name: "a", ResourceVersion: "10"})
	want("the cache shows one", ask, wait, nil, true)
	ask, wait = look("12")
	want("the other has come and gone", ask, wait, nil, false)
}
