package kubelet

import (
	"fmt"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// A list that comes after a gap shows a Pod of the name of one that is gone, and the informer calls that a change.
func TestAPodThatWasReplacedWhileNobodyWatchedIsGone(t *testing.T) {
	pod := func(uid types.UID) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0", UID: uid}}
	}
	for name, c := range map[string]struct {
		tell func(cache.ResourceEventHandler)
		want []string
	}{
		"changed":            {func(h cache.ResourceEventHandler) { h.OnUpdate(pod("a"), pod("a")) }, []string{"put a"}},
		"replaced":           {func(h cache.ResourceEventHandler) { h.OnUpdate(pod("a"), pod("b")) }, []string{"remove a", "put b"}},
		"deleted":            {func(h cache.ResourceEventHandler) { h.OnDelete(pod("a")) }, []string{"remove a"}},
		"deleted, unwatched": {func(h cache.ResourceEventHandler) { h.OnDelete(cache.DeletedFinalStateUnknown{Obj: pod("a")}) }, []string{"remove a"}},
	} {
		var got []string
		c.tell(ofPods(func(obj any) { got = append(got, fmt.Sprint("put ", obj.(*v1.Pod).UID)) }, func(p *v1.Pod) { got = append(got, fmt.Sprint("remove ", p.UID)) }))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
