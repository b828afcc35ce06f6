package core

import "time"

// A large gang needs much room at once, and smaller Pods may take every bit of it as it becomes free. So one gang at a time, having waited for long, has its turn: nodes are
// chosen for it, and what becomes free there is kept for it until it is whole.
const (
	// turnAfter is how long a gang waits like everybody else before it can have a turn.
	turnAfter = 5 * time.Minute
	// turnTime is how long a turn lasts at most. Then the room is everybody's for turnAfter at least, and another gang may come first.
	turnTime = 10 * time.Minute
)

// Turns says which gang has its turn. Two at a time could hold what the other lacks. It does not outlive the process, but the promises do that were made in a turn (see Resume).
type Turns struct {
	gang  string // "" for none
	until time.Time
	had   map[string]time.Time // when the turns of those gangs that were not placed ended
}

// Has says whether it is the gang's turn. A turn that is over ends here, when its gang is looked at and loses its promises: no other gang begins before.
func (t *Turns) Has(gang string, now time.Time) bool {
	if t.gang != gang {
		return false
	}
	if t.until.After(now) {
		return true
	}
	if t.had == nil {
		t.had = map[string]time.Time{}
	}
	t.gang, t.had[gang] = "", now
	return false
}

// Take gives a gang the turn, if it has waited for long enough since it came or had its last one, and nobody has it who still waits.
func (t *Turns) Take(gang string, since, now time.Time, waits func(gang string) bool) bool {
	if had, ok := t.had[gang]; ok && had.After(since) {
		since = had
	}
	if now.Sub(since) < turnAfter || t.gang != "" && waits(t.gang) {
		return false
	}
	for g := range t.had {
		if !waits(g) && g != gang {
			delete(t.had, g)
		}
	}
	t.gang, t.until = gang, now.Add(turnTime)
	return true
}

// Resume gives the turn to a gang that was promised room by a scheduler that is no more, unless another was too. How much of its time had passed is not known: it is given all of it.
func (t *Turns) Resume(gang string, now time.Time) {
	if t.gang == "" {
		t.gang, t.until = gang, now.Add(turnTime)
	}
}

// End is told of a gang that is whole, or that waiting is of no use to.
func (t *Turns) End(gang string) {
	if t.gang == gang {
		t.gang = ""
	}
	delete(t.had, gang)
}
