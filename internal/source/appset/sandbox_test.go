package appset_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gitopsd/gitopsd/internal/source/appset"
	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func TestATemplateThatTakesTooMuchIsAnErrorOfItsSet(t *testing.T) {
	spec := map[string]any{
		"goTemplate": true, "generators": []any{map[string]any{"list": map[string]any{"elements": []any{map[string]any{"a": "b"}}}}},
		"template": map[string]any{"metadata": map[string]any{"name": `{{ repeat 2000000000 "x" }}`}},
	}
	_, err := appset.Expand(t.Context(), spec, appset.Repository{Tree: fstest.MapFS{}})
	var wrong *appset.Error
	if !errors.As(err, &wrong) || wrong.Field != "spec.template" || !strings.Contains(wrong.Message, sandbox.ErrLimits.Error()) {
		t.Errorf("got %v", err)
	}
	// The next one is served all the same.
	spec["template"] = map[string]any{"metadata": map[string]any{"name": "{{ .a }}"}}
	if made, err := appset.Expand(t.Context(), spec, appset.Repository{Tree: fstest.MapFS{}}); err != nil || len(made.Applications) != 1 {
		t.Errorf("afterwards: %v %v", made, err)
	}
}
