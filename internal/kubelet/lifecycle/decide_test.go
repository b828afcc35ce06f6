package lifecycle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestDecide plays the scripts in testdata. "pod" gives a Pod's spec as YAML and starts a new one; "then" lists what happened, one fact per
// line, and prints what is decided after all of it:
//
//	prepared, networked, torn-down, rebooted, runtime-down, runtime-up
//	waits, waits-no-more                       for another Pod of its name to be gone
//	setup-busy, setup-failed REASON TEXT       of the steps around the Pod
//	image C, pulling C                         its image is there, is being fetched
//	failed C REASON TEXT                       it could not be brought further
//	created C, running C, exited C CODE        its newest attempt came that far
//	marked                                     all that ended are to be started anew
//	ready C, unready C, started C, unhealthy C TEXT
//	hook C done|failed
//	stop-sent C, kill-sent C
//	after DURATION                             time passes
//	deleted GRACE, evicted
//	node-shuts-down DURATION                   the Pod is to end for it, in no more time than this
//	resized C TEXT                             its resources are to be others, as YAML, and the node gives them
//	refused C REASON TEXT                      its resources are to be others, and the node does not give them
//	enacting, enacted, not-enacted TEXT        what came of making it true
//	debugged C                                 an ephemeral container is added
//	condition TYPE STATUS                      somebody else set it
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "pod":
				s.start(t, d.Input)
			case "then":
				for line := range strings.Lines(d.Input) {
					if f := strings.Fields(line); len(f) > 0 {
						s.fact(d, f)
					}
				}
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return s.decide()
		})
	})
}

type script struct {
	in    Input
	began time.Time
}

func (s *script) start(t *testing.T, text string) {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "uid", Generation: 1}}
	if err := yaml.UnmarshalStrict([]byte(text), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = v1.RestartPolicyAlways
	}
	s.began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.in = Input{Pod: pod, Now: s.began, RuntimeUp: true, HostIPs: []string{"192.0.2.1"}, Containers: map[string]*Container{}}
}

func (s *script) fact(d *datadriven.TestData, f []string) {
	in := &s.in
	var c *Container
	var spec *v1.Container
	if len(f) > 1 {
		for _, m := range all(&in.Pod.Spec) {
			if m.Name == f[1] {
				spec = m.Container
				if in.Containers[f[1]] == nil {
					in.Containers[f[1]] = &Container{}
				}
				c = in.Containers[f[1]]
			}
		}
	}
	rest := strings.Join(f[min(len(f), 2):], " ")
	switch f[0] {
	case "prepared":
		in.Prepared = true
	case "networked":
		in.Networked, in.PodIPs, in.SetupFailure, in.SetupBusy = true, []string{"10.42.0.2"}, nil, false
	case "waits", "waits-no-more":
		in.Waits = f[0] == "waits"
	case "setup-busy":
		in.SetupBusy = true
	case "setup-failed":
		in.SetupBusy = false
		in.SetupFailure = failure(in.SetupFailure, f[1], rest, in.Now)
	case "torn-down":
		in.TornDown, in.Prepared, in.Networked = true, false, false
	case "rebooted": // as a worker finds it: no sandbox, app containers ended unseen, init containers to run again
		in.Prepared, in.Networked = false, false
		for _, m := range all(&in.Pod.Spec) {
			c := in.Containers[m.Name]
			switch {
			case c == nil:
			case m.init && c.Phase == Exited:
				*c = Container{Phase: Absent, Attempt: c.Attempt + 1, Last: c.End}
			case c.Phase == Running:
				*c = Container{Phase: Exited, ID: c.ID, Attempt: c.Attempt, Last: c.Last, End: &End{
					ID: c.ID, Attempt: c.Attempt, Reason: "Unknown", ExitCode: 255, StartedAt: c.StartedAt, FinishedAt: in.Now, Crashes: Crashes(c.Last, c.StartedAt, in.Now),
				}}
			}
		}
	case "runtime-down", "runtime-up":
		in.RuntimeUp = f[0] == "runtime-up"
	case "pulling":
		c.Busy = Image
	case "image":
		c.Busy, c.ImageReady, c.Failure = None, true, nil
	case "failed":
		c.Busy = None
		c.Failure = failure(c.Failure, f[2], strings.Join(f[3:], " "), in.Now)
	case "marked":
		for _, c := range in.Containers {
			if c.Phase == Exited {
				c.End.Anew = true
			}
		}
	case "created":
		attempt := 0
		if c.Phase == Exited {
			attempt, c.Last = c.Attempt+1, c.End
		} else if c.Phase == Absent {
			attempt = c.Attempt
		}
		*c = Container{Phase: Created, ID: fmt.Sprintf("%s-%d", f[1], attempt), Attempt: attempt, Last: c.Last, ImageReady: true, SpecHash: SpecHash(spec), ImageID: "img"}
		if in.Resize.Allocated != nil {
			has := in.Resize.Allocated.Containers[f[1]]
			c.Resources = &has
		}
	case "running":
		c.Phase, c.StartedAt = Running, in.Now
		c.Ready, c.StartupOK = spec.ReadinessProbe == nil, spec.StartupProbe == nil
		c.PostStart = HookDone
		if spec.Lifecycle != nil && spec.Lifecycle.PostStart != nil {
			c.PostStart = HookPending
		}
	case "exited":
		code, err := strconv.Atoi(f[2])
		if err != nil {
			d.Fatalf(nil, "%v", err)
		}
		reason := "Error"
		if code == 0 {
			reason = "Completed"
		}
		*c = Container{Phase: Exited, ID: c.ID, Attempt: c.Attempt, Last: c.Last, ImageID: c.ImageID, End: &End{
			ID: c.ID, Attempt: c.Attempt, Reason: reason, ExitCode: int32(code), StartedAt: c.StartedAt, FinishedAt: in.Now, Crashes: Crashes(c.Last, c.StartedAt, in.Now),
		}}
	case "ready", "unready":
		c.Ready = f[0] == "ready"
	case "started":
		c.StartupOK = true
	case "unhealthy":
		c.Unhealthy = rest
	case "hook":
		c.PostStart = map[string]Hook{"done": HookDone, "failed": HookFailed}[f[2]]
	case "stop-sent":
		c.StopSent = in.Now
	case "kill-sent":
		c.KillSent = in.Now
	case "after":
		by, err := time.ParseDuration(f[1])
		if err != nil {
			d.Fatalf(nil, "%v", err)
		}
		in.Now = in.Now.Add(by)
	case "deleted":
		grace, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			d.Fatalf(nil, "%v", err)
		}
		in.Pod.DeletionTimestamp, in.Pod.DeletionGracePeriodSeconds = &metav1.Time{Time: in.Now}, &grace
	case "evicted":
		in.Stop = &Stop{Reason: "Evicted", Message: "the node ran out of it"}
	case "node-shuts-down":
		left, err := time.ParseDuration(f[1])
		if err != nil {
			d.Fatalf(nil, "%v", err)
		}
		in.Stop = &Stop{Reason: "Terminated", Message: "the node goes down", Disruption: v1.PodReasonTerminationByKubelet, Until: in.Now.Add(left)}
	case "image-changed":
		spec.Image = "other"
	case "resized", "refused":
		if in.Resize.Allocated == nil {
			in.Resize.Allocated = ResourcesOf(&in.Pod.Spec)
			in.Resize.Group = in.Resize.Allocated
			for _, m := range all(&in.Pod.Spec) {
				if o := in.Containers[m.Name]; o != nil && o.Phase == Running {
					has := m.Resources
					o.Resources = &has
				}
			}
		}
		in.Pod.Spec = *in.Pod.Spec.DeepCopy()
		for i := range in.Pod.Spec.Containers {
			if in.Pod.Spec.Containers[i].Name == f[1] {
				spec = &in.Pod.Spec.Containers[i]
			}
		}
		if f[0] == "refused" {
			spec.Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("100")}
			in.Resize.Refused = &Refusal{Reason: f[2], Message: strings.Join(f[3:], " ")}
			return
		}
		spec.Resources = v1.ResourceRequirements{}
		if err := yaml.UnmarshalStrict([]byte(rest), &spec.Resources); err != nil {
			d.Fatalf(nil, "%v", err)
		}
		in.Resize.Allocated, in.Resize.Refused, in.Resize.Failure = ResourcesOf(&in.Pod.Spec), nil, nil
	case "enacting":
		in.Resize.Busy = true
	case "enacted":
		in.Resize.Busy, in.Resize.Failure, in.Resize.Group = false, nil, in.Resize.Allocated
		for name, o := range in.Containers {
			if o.Phase == Running {
				has := in.Resize.Allocated.Containers[name]
				o.Resources = &has
			}
		}
	case "not-enacted":
		in.Resize.Busy = false
		in.Resize.Failure = failure(in.Resize.Failure, v1.PodReasonError, strings.Join(f[1:], " "), in.Now)
	case "replaced":
		c.End.Replaced, c.End.Crashes = true, 0
	case "debugged": // somebody adds an ephemeral container
		e := v1.EphemeralContainer{TargetContainerName: rest}
		e.Name, e.Image = f[1], "tools"
		in.Pod.Spec.EphemeralContainers = append(in.Pod.Spec.EphemeralContainers, e)
	case "condition":
		in.Pod.Status.Conditions = append(in.Pod.Status.Conditions, v1.PodCondition{Type: v1.PodConditionType(f[1]), Status: v1.ConditionStatus(f[2])})
	default:
		panic("unknown fact " + f[0])
	}
}

func failure(before *Failure, reason, message string, now time.Time) *Failure {
	n := 1
	if before != nil {
		n = before.Count + 1
	}
	return &Failure{Reason: reason, Message: message, At: now, Count: n}
}

// decide prints the decision, and takes its status as the one reported, as a worker does.
func (s *script) decide() string {
	d := Decide(s.in)
	var b strings.Builder
	for _, a := range d.Actions {
		fmt.Fprintf(&b, "do %s\n", a)
	}
	if !d.Again.IsZero() {
		fmt.Fprintf(&b, "again at +%s\n", d.Again.Sub(s.began))
	}
	st := &d.Status
	fmt.Fprintf(&b, "%s", st.Phase)
	if st.Reason != "" {
		fmt.Fprintf(&b, " (%s: %s)", st.Reason, st.Message)
	}
	var yes, no []string
	for _, c := range st.Conditions {
		switch {
		case c.Status == v1.ConditionTrue && c.Reason != "" && (c.Type == v1.PodResizePending || c.Type == v1.PodResizeInProgress):
			yes = append(yes, fmt.Sprintf("%s (%s: %s)", c.Type, c.Reason, c.Message))
		case c.Status == v1.ConditionTrue:
			yes = append(yes, string(c.Type))
		case c.Message != "":
			no = append(no, fmt.Sprintf("%s (%s)", c.Type, c.Message))
		default:
			no = append(no, string(c.Type))
		}
	}
	slices.Sort(yes)
	slices.Sort(no)
	fmt.Fprintf(&b, "\n  is: %s\n  is not: %s\n", strings.Join(yes, ", "), strings.Join(no, ", "))
	for _, list := range [][]v1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			fmt.Fprintf(&b, "  %s\n", describe(&list[i]))
		}
	}
	if Urgent(&s.in.Pod.Status, st) {
		b.WriteString("  reported at once\n")
	}
	s.in.Pod.Status = *st
	return b.String()
}

func describe(c *v1.ContainerStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", c.Name, state(c.State))
	if c.Ready {
		b.WriteString(", ready")
	}
	if c.State.Running != nil && c.Started != nil && !*c.Started {
		b.WriteString(", not started")
	}
	if c.Resources != nil {
		b.WriteString(amounts(*c.Resources, c.AllocatedResources))
	}
	if c.RestartCount > 0 {
		fmt.Fprintf(&b, ", restarts=%d", c.RestartCount)
	}
	if c.LastTerminationState.Terminated != nil {
		fmt.Fprintf(&b, ", last %s", state(c.LastTerminationState))
	}
	return b.String()
}

// amounts prints what a container has, and what is allocated to it where that is something else.
func amounts(has v1.ResourceRequirements, allocated v1.ResourceList) string {
	var b strings.Builder
	for _, n := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		request, limit, given := has.Requests[n], has.Limits[n], allocated[n]
		if request.IsZero() && limit.IsZero() && given.IsZero() {
			continue
		}
		fmt.Fprintf(&b, ", %s %s of %s", n, request.String(), limit.String())
		if given.Cmp(request) != 0 {
			fmt.Fprintf(&b, " (allocated %s)", given.String())
		}
	}
	return b.String()
}

func state(s v1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("%s(%d)", s.Terminated.Reason, s.Terminated.ExitCode)
	case s.Waiting != nil && s.Waiting.Message != "":
		return fmt.Sprintf("%s (%s)", s.Waiting.Reason, s.Waiting.Message)
	case s.Waiting != nil:
		return s.Waiting.Reason
	}
	return "nothing"
}
