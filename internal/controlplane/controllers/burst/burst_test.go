package burst

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestEveryWriteIsSentOnce(t *testing.T) {
	for _, send := range []func(int, func(int) error) error{Each, Growing} {
		var sent [200]atomic.Int32
		if err := send(len(sent), func(i int) error { sent[i].Add(1); return nil }); err != nil {
			t.Fatal(err)
		}
		for i := range sent {
			if n := sent[i].Load(); n != 1 {
				t.Errorf("write %d was sent %d times", i, n)
			}
		}
	}
}

func TestWhenAllAreRefusedFewAreSent(t *testing.T) {
	refused := errors.New("over quota")
	var sent atomic.Int32
	err := Growing(1000, func(int) error { sent.Add(1); return refused })
	if n := sent.Load(); !errors.Is(err, refused) || n > 10 {
		t.Errorf("%d of 1000 were sent, then %v", n, err)
	}
}
