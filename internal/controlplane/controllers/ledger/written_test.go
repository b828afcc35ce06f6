package ledger

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestACopyIsOldUntilItHasTheVersionWrittenLast(t *testing.T) {
	var w Written
	at := func(version string) *metav1.ObjectMeta { return &metav1.ObjectMeta{UID: "u", ResourceVersion: version} }
	if w.NewerThan(at("5")) {
		t.Error("old although nothing was written")
	}
	w.Wrote("u", "7")
	for version, want := range map[string]bool{"5": true, "7": false, "10": false} {
		if got := w.NewerThan(at(version)); got != want {
			t.Errorf("after a write at 7, a copy at %s is old: %v, want %v", version, got, want)
		}
	}
	if w.NewerThan(&metav1.ObjectMeta{UID: "other", ResourceVersion: "1"}) {
		t.Error("a write of one object makes another old")
	}
	w.Forget("u")
	if w.NewerThan(at("5")) {
		t.Error("old although what was written has been forgotten")
	}
}
