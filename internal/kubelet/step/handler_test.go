package step

import (
	"context"
	"errors"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
)

func TestAPodRunsByTheHandlerOfItsRuntimeClass(t *testing.T) {
	classes := map[string]*nodev1.RuntimeClass{"sandboxed": {Handler: "runsc"}, "odd": {Handler: "none"}}
	h := Handler{
		Class: func(_ context.Context, name string) (*nodev1.RuntimeClass, error) {
			if c := classes[name]; c != nil {
				return c, nil
			}
			return nil, errors.New("not found")
		},
		Runtime: func(handler string) (string, error) {
			if handler == "none" {
				return "", errors.New(`no runtime for "none" is configured`)
			}
			return "io.containerd." + handler + ".v1", nil
		},
	}
	name := func(s string) *string { return &s }
	for _, c := range []struct {
		class     *string
		want, err string
	}{
		{nil, "", ""},
		{name(""), "", ""},
		{name("sandboxed"), "io.containerd.runsc.v1", ""},
		{name("odd"), "", `RuntimeClass odd: no runtime for "none" is configured`},
		{name("gone"), "", "reading RuntimeClass gone: not found"},
	} {
		s := &Sandbox{Pod: &v1.Pod{Spec: v1.PodSpec{RuntimeClassName: c.class}}, Runtime: "of before"}
		err := h.Setup(t.Context(), s)
		if s.Runtime != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("class %v: runtime %q, %v; want %q, %q", c.class, s.Runtime, err, c.want, c.err)
		}
	}
}
