package source

import (
	"testing"
	"time"
)

// AnswerWithin has servers answer within a time for as long as the test runs.
func AnswerWithin(t *testing.T, d time.Duration) {
	before := answerTimeout
	answerTimeout = d
	t.Cleanup(func() { answerTimeout = before })
}
