package resident

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestTheHeapGrowsIntoItsBudgetUnderLoadAndLittleAtRest(t *testing.T) {
	const (
		mb = 1 << 20
		gb = 1 << 30
	)
	for _, c := range []struct {
		name  string
		live  uint64
		room  uint64
		since time.Duration
		want  int
	}{
		{"at rest", 60 * mb, gb, time.Minute, calmPercent},
		{"under load, little is live", 20 * mb, gb, 100 * time.Millisecond, busyPercent},
		{"under load, half the budget is live", 140 * mb, gb, 100 * time.Millisecond, 100},
		{"under load, nearly all of it is live", 270 * mb, gb, 100 * time.Millisecond, calmPercent},
		{"under load, a little more is live than the budget", 294 * mb, gb, 100 * time.Millisecond, 57},
		{"under load, much more is live than the budget", 900 * mb, gb, 100 * time.Millisecond, largePercent},
		{"under load, much more, and there is room", 900 * mb, 6 * gb, 100 * time.Millisecond, roomyPercent},
		{"under load, much more, and there is some room", 900 * mb, 2250 * mb, 100 * time.Millisecond, 150},
		{"under load, more than the room", 2 * gb, gb, 100 * time.Millisecond, largePercent},
		{"under load that is slow for its much memory", 900 * mb, gb, 7 * time.Second, largePercent},
		{"at rest, much more is live than the budget", 900 * mb, gb, time.Minute, calmPercent},
		{"nothing is live", 0, gb, time.Millisecond, busyPercent},
	} {
		if got := next(c.live, 280*mb, c.room, c.since); got != c.want {
			t.Errorf("%s: %d%%, want %d%%", c.name, got, c.want)
		}
	}
}

func TestMemoryIsGivenBackWhenLoadEndsWithRoomLeftToAllocateIn(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(busyPercent))
	p := &pace{budget: 512 << 20, room: 512 << 20, last: time.Now(), percent: calmPercent}
	p.end = time.AfterFunc(math.MaxInt64, p.rested)
	p.collected(p.last.Add(100 * time.Millisecond))
	if !p.end.Stop() || !p.busy {
		t.Fatal("a collection soon after another is load, and its end is not waited for")
	}
	garbage := make([]byte, 256<<20)
	for i := range garbage {
		garbage[i] = 1
	}
	runtime.KeepAlive(garbage)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapSys - m.HeapReleased
	p.rested()
	for range 500 {
		runtime.ReadMemStats(&m)
		if before-(m.HeapSys-m.HeapReleased) > 200<<20 && before > m.HeapSys-m.HeapReleased {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("5 s after the end of load %d MB of heap are resident of %d before", (m.HeapSys-m.HeapReleased)>>20, before>>20)
}
