package resident

import (
	"testing"
	"time"
)

func TestTheHeapGrowsIntoItsBudgetUnderLoadAndLittleAtRest(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name  string
		live  uint64
		since time.Duration
		want  int
	}{
		{"at rest", 60 * mb, time.Minute, calmPercent},
		{"under load, little is live", 20 * mb, 100 * time.Millisecond, busyPercent},
		{"under load, half the budget is live", 140 * mb, 100 * time.Millisecond, 100},
		{"under load, nearly all of it is live", 270 * mb, 100 * time.Millisecond, calmPercent},
		{"under load, a little more is live than the budget", 294 * mb, 100 * time.Millisecond, 52},
		{"under load, much more is live than the budget", 900 * mb, 100 * time.Millisecond, largePercent},
		{"at rest, much more is live than the budget", 900 * mb, time.Minute, calmPercent},
		{"nothing is live", 0, time.Millisecond, busyPercent},
	} {
		if got := next(c.live, 280*mb, c.since); got != c.want {
			t.Errorf("%s: %d%%, want %d%%", c.name, got, c.want)
		}
	}
}
