package statefulset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// story is one StatefulSet, its Pods and claims over time; what is decided is carried out at once, and everything is seen at once.
type story struct {
	t       *testing.T
	set     *appsv1.StatefulSet
	version string // of the image in the template: revisions are named after it
	pods    []*corev1.Pod
	claims  map[string]*corev1.PersistentVolumeClaim
	made    int
	now     time.Time
}

// TestDecide reads stories of one StatefulSet:
//
//	set             makes it, or changes fields of its spec
//	update V        gives its template an image of version V
//	look [D]        lets D pass and looks at it until there is nothing more to be done
//	pods            lets Pods change: "NAME running|ready|notready|failed|succeeded|deleted|gone|unlabelled|othervolumes", in any number; "all" for every one that is not going
//	claim           lets a claim change: "NAME new|deleted|gone|owner=KIND/NAME/UID"
//	show NAME       a Pod or a claim as it was made
//	delete          the StatefulSet is deleted
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			switch d.Cmd {
			case "set":
				if d.HasArg("new") {
					*s = story{t: t, now: podtest.Now, version: "1", claims: map[string]*corev1.PersistentVolumeClaim{}, set: &appsv1.StatefulSet{
						ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "uid-db", ResourceVersion: "1"},
						Spec: appsv1.StatefulSetSpec{
							ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: *template("1"),
						},
					}}
				}
				if err := yaml.UnmarshalStrict([]byte(d.Input), &s.set.Spec); err != nil {
					t.Fatal(err)
				}
				defaults.SetStatefulSet(s.set)
				if errs := validation.StatefulSet(s.set); len(errs) > 0 {
					t.Fatal(errs.ToAggregate())
				}
				return ""
			case "update":
				s.version = d.CmdArgs[0].Key
				return ""
			case "look":
				if len(d.CmdArgs) > 0 {
					passed, err := time.ParseDuration(d.CmdArgs[0].Key)
					if err != nil {
						t.Fatal(err)
					}
					s.now = s.now.Add(passed)
				}
				return s.look()
			case "pods":
				for line := range strings.Lines(d.Input) {
					s.change(strings.Fields(line))
				}
				return ""
			case "claim":
				for line := range strings.Lines(d.Input) {
					s.claim(strings.Fields(line))
				}
				return ""
			case "show":
				return s.show(d.CmdArgs[0].Key)
			case "delete":
				s.set.DeletionTimestamp = &metav1.Time{Time: s.now}
				return ""
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func template(version string) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}, Annotations: map[string]string{"note": "kept"}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, TerminationGracePeriodSeconds: ptr.To[int64](30),
			Containers: []corev1.Container{{Name: "c", Image: "example.com/db:" + version, ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePolicy: corev1.TerminationMessageReadFile}},
		},
	}
}

func revision(version string) Revision {
	return Revision{Name: "db-" + version, Template: template(version)}
}

func (s *story) change(words []string) {
	for _, p := range slices.Clone(s.pods) {
		if p.Name != words[0] && (words[0] != "all" || p.DeletionTimestamp != nil) {
			continue
		}
		for _, w := range words[1:] {
			s.to(p, w)
		}
	}
}

func (s *story) to(p *corev1.Pod, word string) {
	ready := func(is corev1.ConditionStatus) {
		p.Status.Phase, p.Spec.NodeName = corev1.PodRunning, "n1"
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: is, LastTransitionTime: metav1.NewTime(s.now)}}
	}
	switch word {
	case "running", "notready":
		ready(corev1.ConditionFalse)
	case "ready":
		ready(corev1.ConditionTrue)
	case "failed":
		p.Status.Phase, p.Status.Conditions = corev1.PodFailed, nil
	case "succeeded":
		p.Status.Phase, p.Status.Conditions = corev1.PodSucceeded, nil
	case "deleted":
		p.DeletionTimestamp = &metav1.Time{Time: s.now}
	case "gone":
		s.pods = slices.DeleteFunc(s.pods, func(o *corev1.Pod) bool { return o == p })
	case "unlabelled":
		delete(p.Labels, appsv1.StatefulSetPodNameLabel)
		delete(p.Labels, appsv1.PodIndexLabel)
	case "othervolumes":
		p.Spec.Volumes = nil
	default:
		s.t.Fatalf("no such word: %q", word)
	}
}

func (s *story) claim(words []string) {
	name := words[0]
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "new":
			s.claims[name] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		case "deleted":
			s.claims[name].DeletionTimestamp = &metav1.Time{Time: s.now}
		case "gone":
			delete(s.claims, name)
		case "owner":
			part := strings.Split(value, "/")
			ref := metav1.OwnerReference{Kind: part[0], Name: part[1], UID: types.UID(part[2]), Controller: ptr.To(true), APIVersion: "apps/v1"}
			if ref.Kind == "Pod" {
				ref.APIVersion = "v1"
			}
			s.claims[name].OwnerReferences = append(s.claims[name].OwnerReferences, ref)
		default:
			s.t.Fatalf("no such word: %q", w)
		}
	}
}

// look decides, and carries out, until a decision changes nothing.
func (s *story) look() string {
	var b strings.Builder
	for range 20 {
		current := revision(strings.TrimPrefix(s.set.Status.CurrentRevision, "db-"))
		if s.set.Status.CurrentRevision == "" {
			current = revision(s.version)
		}
		a := Decide(Observed{
			Set: s.set.DeepCopy(), Pods: s.pods, Claims: s.claims, Current: current, Update: revision(s.version), Collisions: s.set.Status.CollisionCount, Now: s.now,
		})
		old := s.set.DeepCopy()
		s.set.Status = a.Status
		if errs := validation.StatefulSetStatusUpdate(s.set, old); len(errs) > 0 {
			s.t.Errorf("the status is refused: %v", errs)
		}
		if s.carryOut(&b, a) {
			continue
		}
		if a.Waits != "" {
			fmt.Fprintf(&b, "waits: %s\n", a.Waits)
		}
		if a.Recheck > 0 {
			fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
		}
		break
	}
	st := s.set.Status
	fmt.Fprintf(&b, "%d Pods, %d ready, %d available; %d of %s, %d of %s\n", st.Replicas, st.ReadyReplicas, st.AvailableReplicas,
		st.CurrentReplicas, st.CurrentRevision, st.UpdatedReplicas, st.UpdateRevision)
	return b.String()
}

func (s *story) carryOut(b *strings.Builder, a Actions) (acted bool) {
	for _, e := range a.Events {
		fmt.Fprintf(b, "%s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	for _, c := range a.Own {
		fmt.Fprintf(b, "claim %s belongs to %s\n", c.Name, owners(c))
		s.claims[c.Name] = c
	}
	for _, p := range a.Mark {
		i := slices.IndexFunc(s.pods, func(o *corev1.Pod) bool { return o.Name == p.Name })
		s.pods[i] = p
		fmt.Fprintf(b, "label %s\n", p.Name)
	}
	for _, c := range a.Claim {
		fmt.Fprintf(b, "create claim %s\n", c.Claim.Name)
		s.claims[c.Claim.Name] = c.Claim
	}
	for _, p := range a.Create {
		s.made++
		p.UID, p.Status.Phase = types.UID(fmt.Sprintf("%s-%d", p.Name, s.made)), corev1.PodPending
		for _, o := range s.pods {
			if o.Name == p.Name {
				s.t.Errorf("created %s beside another", p.Name)
			}
		}
		s.pods = append(s.pods, p)
		fmt.Fprintf(b, "create %s of %s\n", p.Name, revisionOf(p))
	}
	for _, p := range a.Delete {
		p.DeletionTimestamp = &metav1.Time{Time: s.now}
		fmt.Fprintf(b, "delete %s\n", p.Name)
	}
	return len(a.Own)+len(a.Mark)+len(a.Claim)+len(a.Create)+len(a.Delete) > 0
}

func owners(c *corev1.PersistentVolumeClaim) string {
	var out []string
	for _, ref := range c.OwnerReferences {
		out = append(out, fmt.Sprintf("%s %s %s", ref.Kind, ref.Name, ref.UID))
	}
	if len(out) == 0 {
		return "nobody"
	}
	return strings.Join(out, " and ")
}

func (s *story) show(name string) string {
	if c := s.claims[name]; c != nil {
		return fmt.Sprintf("labels %v, belongs to %s, %s\n", c.Labels, owners(c), c.Spec.Resources.Requests.Storage())
	}
	for _, p := range s.pods {
		if p.Name == name {
			var b strings.Builder
			fmt.Fprintf(&b, "hostname %s, subdomain %s, image %s\n", p.Spec.Hostname, p.Spec.Subdomain, p.Spec.Containers[0].Image)
			for _, m := range []map[string]string{p.Labels, p.Annotations} {
				var pairs []string
				for k, v := range m {
					pairs = append(pairs, k+"="+v)
				}
				slices.Sort(pairs)
				fmt.Fprintln(&b, strings.Join(pairs, " "))
			}
			for _, v := range p.Spec.Volumes {
				if v.PersistentVolumeClaim != nil {
					fmt.Fprintf(&b, "volume %s: claim %s\n", v.Name, v.PersistentVolumeClaim.ClaimName)
				} else {
					fmt.Fprintf(&b, "volume %s\n", v.Name)
				}
			}
			return b.String()
		}
	}
	return "none\n"
}

func TestANameBelongsToAStatefulSetOnlyWithAnOrdinalWrittenAsThisControllerWritesIt(t *testing.T) {
	type parsed struct {
		Set     string
		Ordinal int
		OK      bool
	}
	for name, want := range map[string]parsed{
		"db-0": {"db", 0, true}, "db-12": {"db", 12, true}, "my-db-3": {"my-db", 3, true}, "db-2147483647": {"db", 2147483647, true},
		"db": {}, "db-": {}, "-1": {}, "db-01": {}, "db-+1": {}, "db-x": {}, "db--1": {"db-", 1, true}, "db-2147483648": {}, "": {},
	} {
		var got parsed
		got.Set, got.Ordinal, got.OK = member(name)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzANameIsReadAsItWasWritten(f *testing.F) {
	f.Add("db-0")
	f.Add("data-db-10")
	f.Fuzz(func(t *testing.T, name string) {
		set, ordinal, ok := member(name)
		if ok && podName(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: set}}, ordinal) != name {
			t.Errorf("%q is read as %q and %d", name, set, ordinal)
		}
	})
}

func TestAClaimIsFoundToBeOfTheStatefulSetWhoseTemplateItWasMadeFrom(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}, {ObjectMeta: metav1.ObjectMeta{Name: "data-log"}}},
	}}
	for name, want := range map[string]bool{"data-db-0": true, "data-log-db-7": true, "data-db": false, "data-web-0": false, "log-db-0": false, "data-my-db-0": false} {
		if got := claims(set, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
