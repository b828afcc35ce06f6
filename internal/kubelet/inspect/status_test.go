package inspect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

func TestWhatContainerdHasIsNewerThanWhatWasReported(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pod := func(name string, ready bool, state v1.ContainerState) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
			Spec:   v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "x:1"}}},
			Status: v1.PodStatus{Phase: v1.PodRunning, ContainerStatuses: []v1.ContainerStatus{{Name: "c", Ready: ready, State: state}}}}
	}
	running := v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}}
	crashing := v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	state := func(pod string, attempt int, s runtime.State) runtime.State {
		s.Meta = runtime.Meta{PodUID: pod, Name: "c", Attempt: attempt}
		s.ID = fmt.Sprintf("%s-%d", pod, attempt)
		return s
	}
	ending := pod("f-ending", true, running)
	ending.DeletionTimestamp = &metav1.Time{Time: at}
	pods := []*v1.Pod{pod("e-waits", false, crashing), pod("a-runs", true, running), pod("b-ended", true, running), pod("c-gone", true, running), pod("d-again", false, crashing), ending}
	found := []runtime.State{
		state("a-runs", 0, runtime.State{Running: true, PID: 7}),
		state("b-ended", 1, runtime.State{ExitedAt: at, ExitStatus: 3}),
		state("d-again", 1, runtime.State{ExitedAt: at, ExitStatus: 1}), state("d-again", 2, runtime.State{Running: true, PID: 8, CreatedAt: at}),
		state("f-ending", 0, runtime.State{Running: true, PID: 9}),
		state("stray", 4, runtime.State{Running: true, PID: 10}),
	}
	show := func(pods []Pod, unknown []Container) string {
		var b strings.Builder
		for i := range pods {
			p := &pods[i]
			ready, all := p.Ready()
			c := p.Containers[0]
			fmt.Fprintf(&b, "%s %d/%d %s restarts %d: %s %q pid %d\n", p.Name, ready, all, p.Word(), p.Restarts(), c.State, c.Reason, c.PID)
		}
		for _, c := range unknown {
			fmt.Fprintf(&b, "unknown %s %s\n", c.ID, c.State)
		}
		return b.String()
	}
	for what, tt := range map[string]struct{ got, want string }{
		"containerd answers": {show(describe(pods, found, true)), `a-runs 1/1 Running restarts 0: running "" pid 7
b-ended 0/1 Running restarts 1: exited "" pid 0
c-gone 0/1 Unknown restarts 0: exited "Unknown" pid 0
d-again 0/1 Running restarts 2: running "" pid 8
e-waits 0/1 CrashLoopBackOff restarts 0: waiting "CrashLoopBackOff" pid 0
f-ending 1/1 Terminating restarts 0: running "" pid 9
unknown stray-4 running
`},
		"it does not": {show(describe(pods, nil, false)), `a-runs 1/1 Running restarts 0: running "" pid 0
b-ended 1/1 Running restarts 0: running "" pid 0
c-gone 1/1 Running restarts 0: running "" pid 0
d-again 0/1 CrashLoopBackOff restarts 0: waiting "CrashLoopBackOff" pid 0
e-waits 0/1 CrashLoopBackOff restarts 0: waiting "CrashLoopBackOff" pid 0
f-ending 1/1 Terminating restarts 0: running "" pid 0
`},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\n%swant\n%s", what, tt.got, tt.want)
		}
	}
}
