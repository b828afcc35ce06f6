package reconcile_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

func TestAnOwnWriteCountsUntilTheCacheHasIt(t *testing.T) {
	object := func(uid types.UID, version string) *metav1.ObjectMeta {
		return &metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: uid, ResourceVersion: version}
	}
	for name, c := range map[string]struct {
		noted, cached *metav1.ObjectMeta
		own           bool
	}{
		"nothing was written":         {nil, object("a", "5"), false},
		"the cache is behind":         {object("a", "10"), object("a", "9"), true},
		"the cache has the write":     {object("a", "10"), object("a", "10"), false},
		"the cache is ahead":          {object("a", "9"), object("a", "10"), false},
		"the object was made anew":    {object("a", "10"), object("b", "9"), false},
		"a version that is no number": {object("a", "10"), object("a", "x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			var w reconcile.Written[*metav1.ObjectMeta]
			if c.noted != nil {
				w.Note(c.noted)
			}
			if got := w.Later(c.cached); (got == c.noted && c.noted != nil) != c.own {
				t.Errorf("the own write counts: %v, want %v", !c.own, c.own)
			}
			w.Forget(reconcile.Key{Namespace: "shop", Name: "web"})
			if got := w.Later(c.cached); got != c.cached {
				t.Error("a write counts that was forgotten")
			}
		})
	}
}
