package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

// drain takes everything.
func drain(l *lanes) string {
	var out []string
	for l.Len() > 0 {
		out = append(out, l.Pop().Name)
	}
	return strings.Join(out, " ")
}

func keys(names string) (out []Key) {
	for _, n := range strings.Fields(names) {
		out = append(out, Key{Name: n})
	}
	return out
}

func TestKeysForWhichSomebodyWaitsGoFirst(t *testing.T) {
	l := newLanes()
	for _, k := range keys("a b c d") {
		l.Push(k)
	}
	for _, k := range keys("c b") {
		l.expedite(k)
		l.Touch(k)
	}
	l.expedite(Key{Name: "e"})
	l.Push(Key{Name: "e"})
	l.Touch(Key{Name: "a"}) // nobody waits for it
	if n := l.Len(); n != 5 {
		t.Errorf("%d keys, want 5", n)
	}
	if got := drain(l); got != "c b e a d" {
		t.Errorf("got %s", got)
	}
	// A place that was left counts no more, and a new one does.
	for _, k := range keys("a b") {
		l.Push(k)
	}
	l.expedite(Key{Name: "b"})
	l.Touch(Key{Name: "b"})
	if got := l.Pop().Name; got != "b" {
		t.Errorf("got %s", got)
	}
	l.Push(Key{Name: "b"})
	if got := drain(l); got != "a b" {
		t.Errorf("got %s", got)
	}
}

func TestThoseWithoutHurryHaveTheirTurnToo(t *testing.T) {
	l := newLanes()
	l.Push(Key{Name: "patient"})
	for i := range 3 * longestStreak {
		k := Key{Name: fmt.Sprint(i)}
		l.expedite(k)
		l.Push(k)
	}
	for i := range longestStreak + 1 {
		if l.Pop().Name == "patient" {
			if i != longestStreak {
				t.Errorf("it came after %d others", i)
			}
			return
		}
	}
	t.Error("it did not come")
}

// Whatever is added in whatever way comes out once for each place that it has.
func TestEachKeyComesOutOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLanes()
	placed := map[Key]bool{}
	for range 100_000 {
		k := Key{Name: fmt.Sprint(r.IntN(20))}
		switch {
		case r.IntN(3) == 0 && len(placed) > 0:
			k = l.Pop()
			if !placed[k] {
				t.Fatalf("%s came out and has no place", k)
			}
			delete(placed, k)
		default:
			if r.IntN(2) == 0 {
				l.expedite(k)
			}
			if placed[k] {
				l.Touch(k)
			} else {
				l.Push(k)
				placed[k] = true
			}
		}
		if l.Len() != len(placed) {
			t.Fatalf("%d keys, want %d", l.Len(), len(placed))
		}
	}
}

func TestALoopCallsTheExpeditedKeyBeforeThoseThatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var order []string
		l := New("test", func(_ context.Context, k Key) (Result, error) {
			if order = append(order, k.Name); len(order) == 4 {
				cancel()
			}
			return Result{}, nil
		})
		for _, k := range keys("a b c d") {
			l.Enqueue(k)
		}
		l.EnqueueFirst(Key{Name: "c"}, 0)
		l.Run(ctx, 1)
		if got := strings.Join(order, " "); got != "c a b d" {
			t.Errorf("got %s", got)
		}
	})
}
