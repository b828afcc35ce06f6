package health

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// object reads fields that may be absent or, in a custom resource, of any type.
type object struct{ *unstructured.Unstructured }

// number returns a whole number, or otherwise when the field is absent.
func (o object) number(otherwise int64, path ...string) int64 {
	v, ok, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil || !ok {
		return otherwise
	}
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return otherwise
}

func (o object) text(path ...string) string {
	s, _, err := unstructured.NestedString(o.Object, path...)
	if err != nil {
		return ""
	}
	return s
}

// observed says whether the status speaks of the present spec. A controller that does not note the generation is taken to have seen it.
func (o object) observed() bool {
	g := o.number(o.GetGeneration(), "status", "observedGeneration")
	return g >= o.GetGeneration()
}

// seen is observed for kinds whose controllers are known to note the generation: until they do, they have not seen the object at all.
func (o object) seen() bool { return o.number(0, "status", "observedGeneration") >= o.GetGeneration() }

type condition struct{ status, reason, message string }

// why is the condition's message, or its reason where there is none.
func (c condition) why() string {
	if c.message != "" {
		return c.message
	}
	return c.reason
}

func (o object) condition(kind string) (condition, bool) {
	list, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return condition{}, false
	}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if ok && m["type"] == kind {
			return condition{fmt.Sprint(m["status"]), text(m["reason"]), text(m["message"])}, true
		}
	}
	return condition{}, false
}

func text(v any) string {
	s, _ := v.(string)
	return strings.TrimSpace(s)
}

// byConditions follows the conventions that most custom resources keep.
func byConditions(o object) Health {
	if !o.observed() {
		return progressing("its controller has not seen this version yet")
	}
	for _, bad := range []string{"Stalled", "Failed"} {
		if c, ok := o.condition(bad); ok && c.status == "True" {
			return degraded("%s: %s", bad, c.why())
		}
	}
	if c, ok := o.condition("Reconciling"); ok && c.status == "True" {
		return progressing("%s", c.why())
	}
	for _, good := range []string{"Ready", "Available", "Succeeded", "Complete"} {
		c, ok := o.condition(good)
		switch {
		case !ok:
		case c.status == "True":
			return healthy
		default:
			return progressing("not %s: %s", strings.ToLower(good), c.why())
		}
	}
	return healthy
}
