package resident

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// calmPercent is how much the heap may grow between two collections while they are rare: memory matters then, and their cost does not.
	calmPercent = 50
	// largePercent is how much it may grow while they are not and much more is live than the budget, as in a cluster of a thousand nodes: marking all that every 50% would
	// be what the processor does.
	largePercent = 100
	// roomyPercent is the most that it may grow then, where there is memory for it.
	roomyPercent = 200
	// share is which part of the memory a heap beyond the budget may take for growing by more than largePercent.
	share = 4
	// busyPercent is the most while they are not: past it, collecting is too small a part of the work to matter.
	busyPercent = 300
	// rare is the time between two collections from which they cost nothing to speak of, while no more is live than the budget. What one costs grows with that.
	rare = 3 * time.Second
	// over is how many times as long no collection must have ended for load to be over, though what may be allocated until the next one be far from used up.
	over = 2
	// filesEvery is the time between two releases of files under load.
	filesEvery = 5 * time.Second
)

// Pace has the garbage collector use budget bytes of heap, as far as what is live leaves room for it, while much is allocated, and little more than what is live
// while not: the same percentage at all times (GOGC) would either cost a quarter of the processor under load or twice the memory at rest. There is no limit at which the
// collector would not come to an end: a heap that is live beyond the budget may grow by half, and from twice the budget on by as much again, or by twice as much
// while all of it is no more than a quarter of the memory that there is. When load ends, free memory is given back. While it lasts, pages of files are, every few seconds: load needs few of them, and the heap has better use for the room.
//
// It works from the end of one collection to the next, or for the want of one, and never stops.
func Pace(budget uint64) {
	now := time.Now()
	p := &pace{budget: budget, room: memory() / share, last: now, files: now, percent: calmPercent}
	debug.SetGCPercent(calmPercent)
	p.end = time.AfterFunc(math.MaxInt64, p.rested)
	p.arm()
}

type pace struct {
	budget  uint64
	room    uint64
	mu      sync.Mutex
	last    time.Time
	percent int
	// files is when pages of files were given back last.
	files time.Time
	// busy is whether there was load since memory was given back.
	busy bool
	// releasing is whether the collection that ends next is that of giving back.
	releasing bool
	// end fires when no collection has ended for long: a heap that may grow by gigabytes would keep them for minutes after load, until it has used them up.
	end *time.Timer
}

// arm has the end of the next collection call collected.
func (p *pace) arm() {
	runtime.AddCleanup(new(sentinel), func(p *pace) { p.collected(time.Now()) }, p)
}

// sentinel is what a collection finds dead. It has a pointer, for small objects without one live as long as their neighbours.
type sentinel struct{ _ *byte }

func (p *pace) collected(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.arm()
	since := now.Sub(p.last)
	p.last = now
	if p.releasing {
		p.releasing = false
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := next(live[0].Value.Uint64(), p.budget, p.room, since)
	if percent > calmPercent {
		p.end.Reset(over * rareFor(live[0].Value.Uint64(), p.budget))
	}
	calm := percent == calmPercent && p.percent == calmPercent
	p.busy = p.busy || percent > calmPercent
	if percent > calmPercent && now.Sub(p.files) > filesEvery {
		p.files = now
		go releaseFiles() // not on the goroutine that all cleanups share
	}
	// Setting it stops the world for a moment: not for a few percent.
	if d := percent - p.percent; d > 5 || d < -5 || d != 0 && percent == calmPercent {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
	if calm && p.busy {
		p.release()
	}
}

// rested gives memory back where load ended with room to allocate in.
func (p *pace) rested() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		debug.SetGCPercent(calmPercent)
		p.percent = calmPercent
		p.release()
	}
}

// release gives free memory back; mu is held.
func (p *pace) release() {
	p.end.Stop()
	p.busy, p.releasing = false, true
	go ReleaseProgram()
}

// rareFor is the time between two collections from which they cost nothing to speak of.
func rareFor(live, budget uint64) time.Duration {
	return time.Duration(float64(rare) * max(1, float64(live)/float64(budget)))
}

// next is how much the heap may grow until the next collection, in percent of what is live, when the last one was since ago.
func next(live, budget, room uint64, since time.Duration) int {
	switch {
	case since >= rareFor(live, budget):
		return calmPercent
	case live >= budget:
		large := min(max((max(room, live)-live)*100/live, largePercent), roomyPercent)
		return int(min(calmPercent+(live-budget)*(large-calmPercent)/budget, large))
	}
	return int(min(max((budget-live)*100/max(live, 1), calmPercent), busyPercent))
}
