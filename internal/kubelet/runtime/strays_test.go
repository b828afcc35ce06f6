package runtime

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
)

func TestOnlyWhatEarlierDaemonsHaveLeftIsStray(t *testing.T) {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	before, since := began.Add(-time.Minute), began.Add(time.Millisecond)
	ours := map[string]string{labelPod: "u1"}
	found := []snapshots.Info{
		{Name: "an-image", Created: before},
		{Name: "runs", Labels: ours, Created: before},
		{Name: "was-left", Labels: ours, Created: before},
		{Name: "is-being-made", Labels: ours, Created: since},
		{Name: "was-made", Labels: ours, Created: since},
	}
	got := strays(found, []State{{ID: "runs"}, {ID: "was-made"}}, began)
	if want := []string{"was-left"}; !slices.Equal(got, want) {
		t.Errorf("stray are %q, want %q", got, want)
	}
}
