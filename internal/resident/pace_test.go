package resident

import (
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
