package ingresscertificate

import (
	"slices"
	"time"
)

// FirstPauses has the first attempts come soon after each other, until undo.
func FirstPauses(d time.Duration) (undo func()) {
	before := slices.Clone(pauses)
	pauses[0], pauses[1] = d, d
	return func() { copy(pauses, before) }
}
