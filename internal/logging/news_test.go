package logging

import (
	"errors"
	"testing"
)

func TestAFailureIsNewsUntilItHasBeenToldAndAgainAfterASuccess(t *testing.T) {
	refused, late := errors.New("connection refused"), errors.New("deadline exceeded")
	var n News
	for i, step := range []struct {
		err  error
		news bool
	}{{nil, false}, {refused, true}, {refused, false}, {errors.New("connection refused"), false}, {late, true}, {refused, true}, {nil, false}, {refused, true}} {
		if got := n.New(step.err); got != step.news {
			t.Errorf("outcome %d, %v: news is %v, want %v", i, step.err, got, step.news)
		}
	}
}
