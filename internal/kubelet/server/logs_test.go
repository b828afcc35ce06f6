package server

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
)

func TestWhichAttemptsLogIsShown(t *testing.T) {
	waiting := func(reason string) v1.ContainerState {
		return v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}
	}
	ended := v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
	live := v1.ContainerState{Running: &v1.ContainerStateRunning{}}
	for _, c := range []struct {
		name        string
		state, last v1.ContainerState
		restarts    int32
		previous    bool
		want        string
	}{
		{"running", live, v1.ContainerState{}, 0, false, "0"},
		{"running again", live, ended, 2, false, "2"},
		{"the one before", live, ended, 2, true, "1"},
		{"none before", live, v1.ContainerState{}, 0, true, `previous terminated container "c" in pod "p" not found`},
		{"ended", ended, v1.ContainerState{}, 0, false, "0"},
		{"ended, the one before", ended, ended, 1, true, "0"},
		{"waiting to run again shows what ended", waiting("CrashLoopBackOff"), ended, 1, false, "1"},
		{"and so does its previous", waiting("CrashLoopBackOff"), ended, 1, true, "1"},
		{"not started", waiting("ContainerCreating"), v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: ContainerCreating`},
		{"behind an init container", waiting("PodInitializing"), v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: PodInitializing`},
		{"nothing reported", v1.ContainerState{}, v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: ContainerCreating`},
		{"no image", waiting("ErrImagePull"), v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: image can't be pulled`},
		{"still no image", waiting("ImagePullBackOff"), v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: trying and failing to pull image`},
		{"not to be made", waiting("CreateContainerConfigError"), v1.ContainerState{}, 0, false, `container "c" in pod "p" is waiting to start: CreateContainerConfigError`},
	} {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		n, err := logAttempt(p, &v1.ContainerStatus{Name: "c", State: c.state, LastTerminationState: c.last, RestartCount: c.restarts}, c.previous)
		got := fmt.Sprint(n)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestLogOptionsAreReadAsTheAPISendsThem(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for query, want := range map[string]logs.Options{
		"":                                   {Tail: -1},
		"tailLines=0":                        {Tail: 0},
		"tailLines=5&timestamps=true":        {Tail: 5, Timestamps: true},
		"follow=true&limitBytes=10":          {Tail: -1, Follow: true, Limit: 10},
		"sinceSeconds=90":                    {Tail: -1, Since: now.Add(-90 * time.Second)},
		"sinceTime=2026-01-01T11%3A00%3A00Z": {Tail: -1, Since: now.Add(-time.Hour)},
		"stream=Stderr":                      {Tail: -1, Stream: logs.Stderr},
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := logOptions(q, now); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", query, got, err, want)
		}
	}
	for _, query := range []string{"tailLines=-1", "tailLines=x", "limitBytes=-2", "sinceSeconds=soon", "sinceTime=yesterday", "stream=both"} {
		q, _ := url.ParseQuery(query)
		if got, err := logOptions(q, now); err == nil {
			t.Errorf("%s: got %+v, want an error", query, got)
		}
	}
}
