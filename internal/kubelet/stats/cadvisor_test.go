package stats

import "testing"

func TestAFigureThatCouldNotBeReadIsTold(t *testing.T) {
	for _, c := range []struct {
		figures []uint64
		want    float64
	}{{nil, 0}, {[]uint64{1, 2}, 0}, {[]uint64{0, 2}, 1}, {[]uint64{1, 0}, 1}} {
		if got := unread(c.figures...); got != c.want {
			t.Errorf("%v: got %v, want %v", c.figures, got, c.want)
		}
	}
}
