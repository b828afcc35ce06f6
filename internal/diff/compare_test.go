package diff_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// The scripts in testdata/fields tell stories about one object. Field ownership is kept by the API server's own code.
//
//	git                 what Git says is applied, as by gitopsd
//	git applied=false   what Git says now, not applied yet
//	patch manager=M [user=U]   somebody merges something into the live object
//	defaults            what the server fills in by itself
//	ignore              what ignoreDifferences lists, one a line: a field, a JSON pointer, or manager=M; for the commands after it
//	guard manager=M     print what such a patch would do to the fields that Git set; nothing is changed
//	blame               print each field with who set it
//	fields              print how the cluster differs, and what Git no longer sets
func TestFields(t *testing.T) {
	datadriven.Walk(t, "testdata/fields", func(t *testing.T, path string) {
		var s story
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

type story struct {
	manager  managedfieldstest.TestFieldManager
	desired  *unstructured.Unstructured
	defaults map[string]any
	ignore   v1alpha1.IgnoreDifference
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "git":
		s.desired = object(t, d)
		if d.HasArg("applied") {
			return ""
		}
		if s.manager == nil {
			s.manager = managedfieldstest.NewTestFieldManager(applyconfigurations.NewTypeConverter(scheme.Scheme), s.desired.GroupVersionKind())
		}
		if err := s.manager.Apply(s.desired.DeepCopy(), v1alpha1.FieldManager, true); err != nil {
			return err.Error()
		}
		return ""
	case "patch":
		live, who := s.patched(t, d)
		if d.HasArg("user") {
			var user string
			d.ScanArgs(t, "user", &user)
			var stamp string
			for _, e := range live.GetManagedFields() {
				stamp = e.Time.UTC().Format("2006-01-02T15:04:05Z")
			}
			live.SetAnnotations(map[string]string{v1alpha1.AnnotationChangedBy: fmt.Sprintf(`{"user":%q,"time":%q}`, user, stamp)})
		}
		if err := s.manager.Update(live, who); err != nil {
			return err.Error()
		}
		return ""
	case "guard":
		live := s.live(t)
		next, who := s.patched(t, d)
		trial := managedfieldstest.NewTestFieldManager(applyconfigurations.NewTypeConverter(scheme.Scheme), live.GroupVersionKind())
		if err := trial.Update(live.DeepCopy(), "loader"); err != nil { // it takes over the managedFields that the object carries
			return err.Error()
		}
		if d.HasArg("disown") {
			next.SetManagedFields(nil)
		} else {
			if err := trial.Update(next, who); err != nil {
				return err.Error()
			}
			next = trial.Live().(*unstructured.Unstructured)
		}
		kept, ignored := diff.Split(diff.Guarded(live, next), v1alpha1.ObjectRef{Group: "apps", Kind: "Deployment"}, []v1alpha1.IgnoreDifference{s.ignore})
		var b strings.Builder
		printFields(&b, "", kept)
		printFields(&b, "ignored ", ignored)
		if b.Len() == 0 {
			return "none\n"
		}
		return b.String()
	case "blame":
		live := s.live(t)
		merge(live.Object, s.defaults)
		var b strings.Builder
		for _, o := range diff.Origins(live) {
			fmt.Fprintf(&b, "%s %s:", o.Path, diff.Text(o.Value))
			if o.Git {
				b.WriteString(" Git")
			}
			for _, h := range o.Holders {
				fmt.Fprintf(&b, " %s", h.Manager)
				if h.User != "" {
					fmt.Fprintf(&b, " (%s)", h.User)
				}
			}
			if !o.Git && len(o.Holders) == 0 {
				b.WriteString(" default")
			}
			b.WriteByte('\n')
		}
		return b.String()
	case "defaults":
		s.defaults = parse(t, d.Input)
		return ""
	case "ignore":
		s.ignore = v1alpha1.IgnoreDifference{Group: "apps", Kind: "Deployment"}
		for _, f := range strings.Fields(d.Input) {
			if m, ok := strings.CutPrefix(f, "manager="); ok {
				s.ignore.Managers = append(s.ignore.Managers, m)
			} else if strings.HasPrefix(f, "/") {
				s.ignore.JSONPointers = append(s.ignore.JSONPointers, f)
			} else {
				s.ignore.Fields = append(s.ignore.Fields, f)
			}
		}
		return ""
	case "fields":
		live := s.live(t)
		merge(live.Object, s.defaults)
		all := diff.Fields(s.desired, live, diff.Typed(scheme.Scheme))
		ref := v1alpha1.ObjectRef{Group: "apps", Kind: "Deployment"}
		kept, ignored := diff.Split(all, ref, []v1alpha1.IgnoreDifference{s.ignore})
		var b strings.Builder
		printFields(&b, "", kept)
		printFields(&b, "ignored ", ignored)
		printFields(&b, "dropped ", diff.Dropped(s.desired, live))
		if b.Len() == 0 {
			return "none\n"
		}
		return b.String()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// patched is the live object with the command's patch, and the manager that makes it.
func (s *story) patched(t *testing.T, d *datadriven.TestData) (next *unstructured.Unstructured, manager string) {
	t.Helper()
	d.ScanArgs(t, "manager", &manager)
	next = s.live(t)
	merge(next.Object, parse(t, d.Input))
	return next, manager
}

func printFields(b *strings.Builder, what string, fields []diff.Field) {
	for _, f := range fields {
		fmt.Fprintf(b, "%s%s:", what, f.Path)
		if f.HasWant {
			fmt.Fprintf(b, " git %s", diff.Text(f.Want))
		}
		if f.HasLive {
			fmt.Fprintf(b, " live %s", diff.Text(f.Live))
		} else {
			b.WriteString(" live absent")
		}
		if f.Manager != "" {
			fmt.Fprintf(b, " by %s", f.Manager)
		}
		if f.User != "" {
			fmt.Fprintf(b, " (%s)", f.User)
		}
		b.WriteByte('\n')
	}
}

func (s *story) live(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u, ok := s.manager.Live().(*unstructured.Unstructured)
	if !ok {
		t.Fatalf("live is %T", s.manager.Live())
	}
	return u.DeepCopy()
}

func object(t *testing.T, d *datadriven.TestData) *unstructured.Unstructured {
	t.Helper()
	return &unstructured.Unstructured{Object: parse(t, d.Input)}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(append([]byte(`{"kind":"x",`), j[1:]...)); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !strings.Contains(text, "kind:") {
		delete(u.Object, "kind")
	}
	return u.Object
}

// merge is a JSON merge patch: null removes, lists are replaced.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		m, isMap := v.(map[string]any)
		old, wasMap := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isMap && wasMap:
			merge(old, m)
		default:
			into[k] = v
		}
	}
}
