package dra

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// turns has one at a time at work on each claim.
type turns struct {
	mu sync.Mutex
	of map[types.UID]*turn
}

type turn struct {
	sync.Mutex
	wanted int // by how many, the one at work among them
}

// take waits until nobody else is at work on any of the claims, and gives what ends it.
func (t *turns) take(claims []prepared) (end func()) {
	uids := map[types.UID]bool{}
	for i := range claims {
		uids[claims[i].UID] = true
	}
	order := slices.Sorted(maps.Keys(uids)) // the same for all: two that want the same two never wait for each other
	for _, uid := range order {
		t.mu.Lock()
		if t.of == nil {
			t.of = map[types.UID]*turn{}
		}
		if t.of[uid] == nil {
			t.of[uid] = &turn{}
		}
		mine := t.of[uid]
		mine.wanted++
		t.mu.Unlock()
		mine.Lock()
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, uid := range order {
			mine := t.of[uid]
			mine.Unlock()
			if mine.wanted--; mine.wanted == 0 {
				delete(t.of, uid)
			}
		}
	}
}
