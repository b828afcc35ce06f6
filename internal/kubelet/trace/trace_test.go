package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPartsAreNotedUntilThePodIsReady(t *testing.T) {
	s := New()
	st := s.Begin("ns", "web")
	ctx := With(t.Context(), st)
	late := Begin(ctx, "late")
	Begin(ctx, "early")()
	Begin(context.Background(), "of no Pod")()
	st.Ready()
	late()
	Begin(ctx, "after it")()
	var got []Report
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != "web" || len(got[0].Parts) != 1 || got[0].Parts[0].Name != "early" {
		t.Errorf("%s", b)
	}
}

func TestOnlyTheLastStartsAndABoundedNumberOfPartsAreKept(t *testing.T) {
	s := New()
	for i := range remembered + 3 {
		ctx := With(t.Context(), s.Begin("ns", fmt.Sprint(i)))
		for range 2 * parts {
			Begin(ctx, "again")()
		}
	}
	if diff := cmp.Diff([]any{remembered, "3", parts}, []any{len(s.last), s.last[0].name, len(s.last[0].parts)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
