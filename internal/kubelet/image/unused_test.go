package image

import (
	"strings"
	"testing"
	"time"
)

func TestUnusedImagesGoByAge(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	all := []Candidate{
		{Digest: "used-lately", Size: 10, FirstSeen: ago(time.Hour), LastUsed: ago(5 * time.Minute)},
		{Digest: "used-long-ago", Size: 10, FirstSeen: ago(3 * time.Hour), LastUsed: ago(2 * time.Hour)},
		{Digest: "never-used", Size: 10, FirstSeen: ago(10 * time.Minute)},
		{Digest: "new", Size: 10, FirstSeen: ago(time.Minute)},
	}
	k := Keeping{HighThreshold: 85, LowThreshold: 80, MinimumAge: 2 * time.Minute}
	aged := k
	aged.MaximumAge = time.Hour
	eager := k
	eager.MinimumAge = 0
	for name, c := range map[string]struct {
		k      Keeping
		excess int64
		want   string
	}{
		"there is room":                 {k, 0, ""},
		"a little is to go":             {k, 1, "never-used"},
		"more is to go":                 {k, 15, "never-used used-long-ago"},
		"all that may go":               {k, 1000, "never-used used-long-ago used-lately"},
		"whatever is unused":            {eager, All, "never-used new used-long-ago used-lately"},
		"too old, though there is room": {aged, 0, "used-long-ago"},
	} {
		var got []string
		for _, x := range c.k.Choose(all, c.excess, now) {
			got = append(got, x.Digest)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", name, s, c.want)
		}
	}
}

func TestAFullDiskIsBroughtBelowTheLowThreshold(t *testing.T) {
	k := Keeping{HighThreshold: 85, LowThreshold: 80}
	for available, want := range map[int64]int64{100: 0, 16: 0, 15: 5, 5: 15, 0: 20} {
		if got := k.Excess(available, 100); got != want {
			t.Errorf("%d of 100 left: %d to go, want %d", available, got, want)
		}
	}
	if got := (Keeping{HighThreshold: 100}).Excess(0, 100); got != 0 {
		t.Errorf("switched off: %d", got)
	}
	for _, bad := range []Keeping{{HighThreshold: 101}, {HighThreshold: 80, LowThreshold: 80}, {HighThreshold: 85, MinimumAge: time.Hour, MaximumAge: time.Minute}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := DefaultKeeping().Check(); err != nil {
		t.Error(err)
	}
}
