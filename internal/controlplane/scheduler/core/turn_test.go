package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

func TestOneGangAtATimeHasItsTurnAfterLongWaitingAndThenOthersMay(t *testing.T) {
	var turns Turns
	start := time.Unix(0, 0)
	waiting := map[string]bool{"red": true, "blue": true}
	waits := func(g string) bool { return waiting[g] }
	step := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	at := func(m int) time.Time { return start.Add(time.Duration(m) * time.Minute) }
	step("red is new", turns.Take("red", start, at(4), waits), false)
	step("red has waited", turns.Take("red", start, at(5), waits), true)
	step("it is red's turn", turns.Has("red", at(6)), true)
	step("not blue's", turns.Has("blue", at(6)), false)
	step("blue has waited, but red has its turn", turns.Take("blue", start, at(6), waits), false)
	step("over, but red has not been told", turns.Take("blue", start, at(16), waits), false)
	step("over", turns.Has("red", at(16)), false)
	step("red again at once", turns.Take("red", start, at(16), waits), false)
	step("blue", turns.Take("blue", start, at(16), waits), true)
	waiting["blue"] = false
	step("blue is gone, but red had its turn a moment ago", turns.Take("red", start, at(20), waits), false)
	step("red waited again", turns.Take("red", start, at(21), waits), true)
	turns.End("red")
	step("red is whole", turns.Has("red", at(22)), false)
}

func TestAGangThatWasPromisedRoomBeforeTheSchedulerStartedGoesOnWithItsTurn(t *testing.T) {
	var turns Turns
	start := time.Unix(0, 0)
	turns.Resume("red", start)
	turns.Resume("blue", start)
	if !turns.Has("red", start) || turns.Has("blue", start) {
		t.Error("the first that was promised room has to have the turn, and no other")
	}
	if turns.Has("red", start.Add(turnTime)) {
		t.Error("a turn that goes on has to end too")
	}
}

// Small Pods are always there to take what becomes free. A gang that needs half of the cluster gets in all the same, though only by its turn.
func TestALargeGangGetsInAmongSmallPodsThatNeverStopComing(t *testing.T) {
	const nodes, tick, patience = 6, 15 * time.Second, time.Hour
	for seed := range uint64(50) {
		for _, fair := range []bool{false, true} {
			r := rand.New(rand.NewPCG(seed, 1))
			s, c, turns := snapshot.New(), New(DefaultProfile()), Turns{}
			for i := range nodes {
				s.SetNode(scheduletest.Node(t, fmt.Sprintf("n%d cpu=2", i)))
			}
			var gang []*snapshot.Pod
			for i := range nodes / 2 {
				gang = append(gang, snapshot.NewPod(scheduletest.Pod(t, fmt.Sprintf("g%d cpu=2 gang=large:%d", i, nodes/2))))
			}
			running, small, in := map[string]bool{}, 0, time.Duration(-1)
			start := time.Unix(0, 0)
			for now := time.Duration(0); now < patience && in < 0; now += tick {
				for name := range running {
					if r.IntN(8) == 0 { // two minutes on average
						s.Remove(types.UID("uid-" + name))
						delete(running, name)
					}
				}
				for full := false; !full; small++ {
					p := snapshot.NewPod(scheduletest.Pod(t, fmt.Sprintf("s%d cpu=500m ends", small)))
					if d := c.Decide(p, s); d.Node != "" {
						s.Assume(p, d.Node)
						running[p.Object.Name] = true
					} else {
						full = true
					}
				}
				var keep []string
				if at := start.Add(now); fair && (turns.Has("large", at) || turns.Take("large", start, at, func(string) bool { return true })) {
					keep = c.PlanGang(gang, 0, len(gang), s)
				}
				decisions := c.DecideGang(gang, 0, len(gang), keep, s)
				if decisions[0].Gang == "" {
					in = now
				}
				for i, d := range decisions {
					if s.Withdraw(gang[i].Object.UID); d.Promised != "" {
						s.Nominate(gang[i], d.Promised)
					}
				}
			}
			if fair != (in >= 0) {
				t.Errorf("seed %d: with turns %v the gang was placed after %v (negative: not within %v)", seed, fair, in, patience)
			}
		}
	}
}
