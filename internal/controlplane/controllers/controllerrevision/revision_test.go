package controllerrevision

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
)

func template(image string) *corev1.PodTemplateSpec {
	t := corev1.PodTemplate{Template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:" + image}}},
	}}
	defaults.SetPodTemplate(&t)
	return &t.Template
}

func owner(t *corev1.PodTemplateSpec) Owner {
	return Owner{
		Object:   &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web"}},
		Kind:     appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Selector: labels.SelectorFromSet(t.Labels), Template: t, HashLabel: "controller.kubernetes.io/hash", Limit: 10,
	}
}

// TestDecide reads stories of one owner's history, whose templates differ in the version of their image:
//
//	template V      the owner gets a template: what is decided, carried out; and the history then
//	trim N used=V   the revisions beyond a limit go, but for those in use
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var own []*appsv1.ControllerRevision
		image := func(r *appsv1.ControllerRevision) string {
			held, err := Template(r)
			if err != nil {
				t.Fatal(err)
			}
			_, v, _ := strings.Cut(held.Spec.Containers[0].Image, ":")
			return v
		}
		history := func() string {
			var b strings.Builder
			for _, r := range own {
				fmt.Fprintf(&b, "%d: %s\n", r.Revision, image(r))
			}
			return b.String()
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "template":
				now := template(d.CmdArgs[0].Key)
				step, said := Decide(now, own), ""
				switch {
				case step.Found != nil:
					said = "found\n"
				case step.Return != nil:
					said = fmt.Sprintf("return to %d as %d\n", step.Return.Revision, step.Number)
					step.Return.Revision = step.Number
				default:
					said = fmt.Sprintf("make %d\n", step.Number)
					own = append(own, newRevision(owner(now), Data(now), step.Number, 0))
				}
				Sort(own)
				return said + history()
			case "trim":
				var limit int
				d.ScanArgs(t, "limit", &limit)
				inUse := sets.New[string]()
				for _, r := range own {
					for _, a := range d.CmdArgs {
						if a.Key == "used" && slices.Contains(a.Vals, image(r)) {
							inUse.Insert(r.Name)
						}
					}
				}
				for _, r := range Excess(own, inUse, int32(limit)) {
					own = slices.DeleteFunc(own, func(o *appsv1.ControllerRevision) bool { return o == r })
				}
				return history()
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

// The values are fixed: were they to change with a version of this program or of the API, every Pod of every StatefulSet would be replaced.
func TestTheHashOfATemplateIsTheSameInEveryVersion(t *testing.T) {
	data := Data(&corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
	})
	want := `{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"example.com/web:1","name":"web","resources":{}}]}}}}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("the data (-want +got):\n%s", diff)
	}
	got := []string{Hash(data, 0), Hash(data, 1)}
	if diff := cmp.Diff([]string{"654dfd7bb8", "654dfd7bb9"}, got); diff != "" {
		t.Errorf("the hashes (-want +got):\n%s", diff)
	}
}

func TestARevisionOfAnEarlierAPIIsTheSameWhenItsTemplateIsCompletedWithDefaults(t *testing.T) {
	now := template("1")
	earlier := now.DeepCopy()
	earlier.Spec.Containers[0].TerminationMessagePolicy, earlier.Spec.EnableServiceLinks = "", nil
	r := newRevision(owner(now), Data(earlier), 1, 0)
	if step := Decide(now, []*appsv1.ControllerRevision{r}); step.Found != r {
		t.Errorf("another revision is made beside it: %+v", step)
	}
}

func TestARevisionThatHoldsNoTemplateIsReportedAndEqualsNothing(t *testing.T) {
	r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1"}, Data: runtime.RawExtension{Raw: []byte(`{"spec":{}}`)}, Revision: 4}
	if _, err := Template(r); err == nil || !strings.Contains(err.Error(), "default/web-1") {
		t.Errorf("the error does not name it: %v", err)
	}
	if step := Decide(template("1"), []*appsv1.ControllerRevision{r}); step.Found != nil || step.Return != nil || step.Number != 5 {
		t.Errorf("got %+v, want a new revision 5", step)
	}
}

func TestARevisionTellsWhyItWasMadeAndNotWhatWasApplied(t *testing.T) {
	o := owner(template("1"))
	o.Object.SetAnnotations(map[string]string{"kubernetes.io/change-cause": "new image", corev1.LastAppliedConfigAnnotation: "{}"})
	r := newRevision(o, Data(o.Template), 1, 0)
	want := metav1.ObjectMeta{
		Namespace: "default", Name: "web-" + Hash(Data(o.Template), 0), Annotations: map[string]string{"kubernetes.io/change-cause": "new image"},
		Labels:          map[string]string{"app": "web", "controller.kubernetes.io/hash": Hash(Data(o.Template), 0)},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o.Object, o.Kind)},
	}
	if diff := cmp.Diff(want, r.ObjectMeta); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := o.Template.Labels[o.HashLabel]; ok {
		t.Error("the owner's template got the label of its revision")
	}
}

func FuzzATemplateComesBackFromItsRevision(f *testing.F) {
	f.Add("web", "example.com/web:1", "<a & b>", int64(30))
	f.Fuzz(func(t *testing.T, name, image, arg string, seconds int64) {
		p := corev1.PodTemplate{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{
				ActiveDeadlineSeconds: &seconds,
				Containers:            []corev1.Container{{Name: name, Image: image, Args: []string{arg}}},
			},
		}}
		defaults.SetPodTemplate(&p)
		was := &p.Template
		back, err := Template(newRevision(owner(was), Data(was), 1, 0))
		if err != nil {
			t.Fatal(err)
		}
		// What is no UTF-8 cannot come over the API, and encoding/json replaces it.
		if diff := cmp.Diff(was, back); diff != "" && strings.ToValidUTF8(name+image+arg, "") == name+image+arg {
			t.Errorf("(-was +back):\n%s", diff)
		}
	})
}
