package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// story is one Job and its Pods over time; what is decided is carried out at once, and everything is seen at once.
type story struct {
	t    *testing.T
	job  *batchv1.Job
	pods []*corev1.Pod
	made int
	now  time.Time
}

// TestDecide reads stories of one Job:
//
//	job        makes it, with the lines as its spec
//	look [D]   lets D pass and looks at it until there is nothing more to be done
//	pods       lets Pods change: "NAME running|ready|succeeded|failed|deleted|gone", "exit=N" "is=CONDITION" "restarts=N"; "all" for every active one
//	set        changes fields of the spec
//	show       a Pod as it was made
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			switch d.Cmd {
			case "job":
				*s = story{t: t, now: podtest.Now, job: &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sum", UID: "uid-sum", ResourceVersion: "1"}}}
				s.spec(d.Input)
				defaults.SetJob(s.job)
				return ""
			case "set":
				s.spec(d.Input)
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
			case "show":
				return s.show(d.CmdArgs[0].Key)
			case "delete":
				s.job.DeletionTimestamp = &metav1.Time{Time: s.now}
				return ""
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func (s *story) spec(text string) {
	if err := yaml.UnmarshalStrict([]byte(text), &s.job.Spec); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) change(words []string) {
	for _, p := range s.pods {
		if p.Name == words[0] || words[0] == "all" && p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			for _, w := range words[1:] {
				s.set(p, w)
			}
		}
	}
	s.clear()
}

// clear lets Pods go that are deleted, have ended, and are kept by nobody.
func (s *story) clear() {
	s.pods = slices.DeleteFunc(s.pods, func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && !tracked(p) && p.Status.Phase != corev1.PodRunning
	})
}

func (s *story) set(p *corev1.Pod, word string) {
	key, value, _ := strings.Cut(word, "=")
	n, _ := strconv.Atoi(value)
	container := func() *corev1.ContainerStatus {
		if len(p.Status.ContainerStatuses) == 0 {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c"}}
		}
		return &p.Status.ContainerStatuses[0]
	}
	switch key {
	case "running":
		p.Status.Phase, p.Spec.NodeName = corev1.PodRunning, "n1"
	case "ready":
		p.Status.Phase, p.Spec.NodeName = corev1.PodRunning, "n1"
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	case "succeeded":
		p.Status.Phase = corev1.PodSucceeded
		container().State.Terminated = &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(s.now)}
	case "failed":
		p.Status.Phase = corev1.PodFailed
		container().State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.NewTime(s.now)}
	case "exit":
		container().State.Terminated.ExitCode = int32(n)
	case "restarts":
		container().RestartCount = int32(n)
	case "is":
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(value), Status: corev1.ConditionTrue})
	case "deleted":
		p.DeletionTimestamp = &metav1.Time{Time: s.now}
	default:
		s.t.Fatalf("no such word: %q", word)
	}
}

// look decides, and carries out, until a decision changes nothing.
func (s *story) look() string {
	var b strings.Builder
	for range 10 {
		a := Decide(Observed{Job: s.job.DeepCopy(), Pods: s.pods, Now: s.now})
		old := s.job.DeepCopy()
		s.job.Status = a.Status
		if errs := validation.JobStatusUpdate(s.job, old); len(errs) > 0 {
			s.t.Errorf("the status is refused: %v", errs)
		}
		acted := s.carryOut(&b, a)
		if !acted || Finished(s.job) {
			if a.Recheck > 0 {
				fmt.Fprintf(&b, "look again in %v\n", a.Recheck)
			}
			break
		}
	}
	b.WriteString(status(s.job.Status))
	return b.String()
}

func (s *story) carryOut(b *strings.Builder, a Actions) (acted bool) {
	for _, e := range a.Events {
		fmt.Fprintf(b, "%s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	for _, n := range a.Create {
		s.made++
		n.Name = fmt.Sprintf("%s%c", namePrefix(s.job, n.Index), 'a'+s.made-1)
		p := newPod(s.job, n)
		p.UID, p.Status.Phase, p.CreationTimestamp = types.UID("uid-"+p.Name), corev1.PodPending, metav1.NewTime(s.now)
		s.pods = append(s.pods, p)
		fmt.Fprintf(b, "create %s\n", p.Name)
	}
	remove := func(word string, pods []*corev1.Pod) {
		for _, p := range pods {
			p.DeletionTimestamp = &metav1.Time{Time: s.now}
			fmt.Fprintf(b, "%s %s\n", word, p.Name)
		}
	}
	for _, p := range a.Discard {
		p.Finalizers = nil
	}
	remove("delete", a.Delete)
	remove("discard", a.Discard)
	for _, p := range a.Release {
		p.Finalizers = nil
		fmt.Fprintf(b, "let go %s\n", p.Name)
	}
	s.clear()
	return len(a.Create)+len(a.Delete)+len(a.Discard)+len(a.Release)+len(a.Events) > 0
}

func status(s batchv1.JobStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "active %d, ready %d, terminating %d, succeeded %d, failed %d\n", s.Active, *s.Ready, *s.Terminating, s.Succeeded, s.Failed)
	if s.CompletedIndexes != "" {
		fmt.Fprintf(&b, "completed: %s\n", s.CompletedIndexes)
	}
	if s.FailedIndexes != nil && *s.FailedIndexes != "" {
		fmt.Fprintf(&b, "failed: %s\n", *s.FailedIndexes)
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

func (s *story) show(name string) string {
	for _, p := range s.pods {
		if p.Name == name {
			var b strings.Builder
			fmt.Fprintf(&b, "hostname %s, finalizers %v\n", p.Spec.Hostname, p.Finalizers)
			for _, m := range []map[string]string{p.Labels, p.Annotations} {
				var pairs []string
				for k, v := range m {
					pairs = append(pairs, k+"="+v)
				}
				slices.Sort(pairs)
				fmt.Fprintln(&b, strings.Join(pairs, " "))
			}
			for _, c := range p.Spec.Containers {
				for _, e := range c.Env {
					fmt.Fprintf(&b, "%s: %s\n", e.Name, e.ValueFrom.FieldRef.FieldPath)
				}
			}
			return b.String()
		}
	}
	return "no such Pod\n"
}

func TestIndexesAreReadWrittenAndCounted(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
		n     int
	}{
		{"", 10, "", 0}, {"0", 10, "0", 1}, {"0,1", 10, "0,1", 2}, {"0-1", 10, "0,1", 2}, {"0,1,2,5", 10, "0-2,5", 4},
		{"3-7", 5, "3,4", 2}, {"7", 5, "", 0}, {"5-3", 10, "", 0}, {"x,2", 10, "2", 1}, {"2,0-1", 10, "0-2", 3},
	} {
		x := parseIndexes(c.in, c.limit)
		if x.String() != c.want || x.count() != c.n {
			t.Errorf("%q below %d: got %q, %d, want %q, %d", c.in, c.limit, x, x.count(), c.want, c.n)
		}
	}
	x := indexesOf(5, 0, 1, 2)
	var missing []int
	x.missing(8, func(i int) bool { missing = append(missing, i); return len(missing) < 3 })
	if want := []int{3, 4, 6}; !slices.Equal(missing, want) {
		t.Errorf("the first three missing of %v are %v, want %v", x, missing, want)
	}
	for i := range 8 {
		if got, want := x.has(i), slices.Contains([]int{0, 1, 2, 5}, i); got != want {
			t.Errorf("%v has %d: %v", x, i, got)
		}
	}
	if got := x.common(parseIndexes("1-5", 10)); got != 3 {
		t.Errorf("common with 1-5: %d, want 3", got)
	}
}

func FuzzIndexesSurviveBeingWrittenAndRead(f *testing.F) {
	f.Add("0,2-4,9", "1-3", 10)
	f.Fuzz(func(t *testing.T, a, b string, limit int) {
		if limit < 0 || limit > 1000 {
			t.Skip()
		}
		x, y := parseIndexes(a, limit), parseIndexes(b, limit)
		both := x.union(y)
		if again := parseIndexes(both.String(), limit); !slices.Equal(again, both) {
			t.Errorf("%v is written as %q and read as %v", both, both, again)
		}
		if both.count() != x.count()+y.count()-x.common(y) {
			t.Errorf("%v and %v have %d in common, and %v has %d", x, y, x.common(y), both, both.count())
		}
		missing := 0
		both.missing(limit, func(i int) bool { missing++; return !both.has(i) })
		if missing+both.count() != limit {
			t.Errorf("%v has %d of %d, and %d are missing", both, both.count(), limit, missing)
		}
	})
}

func TestAPodsNameKeepsItsIndexAlsoWhereTheJobsNameIsCut(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("long-", 20)}, Spec: batchv1.JobSpec{CompletionMode: ptr.To(batchv1.IndexedCompletion)}}
	name := podName(job, 31)
	if len(name) > maxNameLength || indexOfName(name) != 31 {
		t.Errorf("%s (%d characters) has index %d", name, len(name), indexOfName(name))
	}
	for _, other := range []string{"sum-abcde", "sum", "a-b-c"} {
		if got := indexOfName(other); got != -1 {
			t.Errorf("%s has index %d", other, got)
		}
	}
}

func TestTheDelayDoublesUpToTenMinutes(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 0, 1: 10 * time.Second, 2: 20 * time.Second, 4: 80 * time.Second, 7: 10 * time.Minute, 1 << 30: 10 * time.Minute} {
		if got := delay(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}
