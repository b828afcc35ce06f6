package lifecycle

import (
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Phase is how far the newest attempt of a container has come.
type Phase int

// The phases, in the order in which an attempt goes through them.
const (
	Absent  Phase = iota // no attempt yet
	Created              // the runtime has it; its process has not been started
	Running
	Exited
)

func (p Phase) String() string { return [...]string{"absent", "created", "running", "exited"}[p] }

// Hook is the state of a container's postStart hook.
type Hook int

// States of the postStart hook; a container without one goes to HookDone at its start.
const (
	HookPending Hook = iota
	HookDone
	HookFailed
)

// Container is what has been observed of one container of a Pod: its newest attempt, and what is needed to judge the next one.
type Container struct {
	Phase    Phase
	ID       string // runtime's ID of the newest attempt
	Attempt  int    // number of the newest attempt, from 0; equals the restart count
	SpecHash string // of the container's spec when the attempt was created

	ImageID   string
	User      *v1.ContainerUser // that the newest attempt's first process runs as; nil if this process did not create it
	StartedAt time.Time
	End       *End // of the newest attempt; set exactly when Phase is Exited
	Last      *End // of the attempt before, if any

	PostStart Hook
	// StartupOK and Ready are the probes' latest results; probes that are not declared count as passed.
	StartupOK bool
	Ready     bool
	// Unhealthy is why a liveness or startup probe (or the postStart hook) wants the container stopped; UnhealthyGrace overrides the Pod's grace period.
	Unhealthy      string
	UnhealthyGrace *int64

	// ImageReady says that the image is unpacked and may be used for the next attempt.
	ImageReady bool
	// Busy is the action being carried out for this container right now; nothing else is asked for meanwhile.
	Busy Verb
	// Failure is the last attempt to pull, create or start that did not succeed; it is cleared by success.
	Failure *Failure

	// StopSent is when the container was asked to stop (preStop hook, then its stop signal); zero if it was not.
	StopSent time.Time
	// KillSent is when it was killed.
	KillSent time.Time

	// Resources are what the newest attempt runs with; nil: what is allocated to it.
	Resources *v1.ResourceRequirements

	// Health is how the devices are that the container has; none once they are given back.
	Health []v1.ResourceStatus
}

// End is how an attempt ended.
type End struct {
	ID         string    `json:"id"`
	Attempt    int       `json:"attempt"`
	ImageID    string    `json:"imageID,omitempty"`
	Reason     string    `json:"reason"` // Completed, Error, OOMKilled, StartError, ContainerStatusUnknown
	Message    string    `json:"message,omitempty"`
	ExitCode   int32     `json:"exitCode"`
	Signal     int32     `json:"signal,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	// Crashes counts the attempts in a row, this one included, that ended before they had run for ResetAfter.
	Crashes int `json:"crashes"`
	// Replaced says that it was stopped to make room for a new attempt, which is made whatever the restart policy says.
	Replaced bool `json:"replaced,omitempty"`
	// Anew says that all containers of the Pod are started anew, and that this one has not been yet.
	Anew bool `json:"anew,omitempty"`
	// Sandbox names the sandbox it ran in; init containers run again in a new one.
	Sandbox string `json:"sandbox,omitempty"`
}

// Failure is a pull, creation or start that did not succeed.
type Failure struct {
	Reason  string // ErrImagePull, InvalidImageName, ErrImageNeverPull, CreateContainerConfigError, CreateContainerError, RunContainerError
	Message string
	At      time.Time
	Count   int // in a row
}

// Stop asks for the whole Pod to be stopped though nobody deleted it.
type Stop struct {
	Reason  string // Evicted, DeadlineExceeded, Terminated, NodePorts…
	Message string
	// Disruption is the reason of the condition DisruptionTarget that the Pod gets; empty for none.
	Disruption string `json:",omitempty"`
	// Until is when what still runs is killed, though its grace period were longer; zero for never.
	Until time.Time `json:",omitzero"`
}

// Input is everything that a Decision depends on.
type Input struct {
	Pod *v1.Pod // desired, with the status last reported
	Now time.Time

	// RuntimeUp is false while containerd does not answer; nothing is asked of it then.
	RuntimeUp bool
	// Prepared says that directories, volumes, cgroup and namespaces exist; Networked that addresses are attached as well.
	Prepared, Networked bool
	// SetupBusy and TeardownBusy say that the steps are being carried out; TornDown that nothing is left of the Pod but its record.
	SetupBusy, TeardownBusy, TornDown bool
	// Waits says that another Pod of the name is still on the node, which has to be gone first: two never run at once.
	Waits bool
	// SetupFailure is why the last setup failed.
	SetupFailure *Failure

	Resize Resize

	PodIPs, HostIPs []string
	// ImageVolumes are the IDs of the images that volumes show, by the volumes' names, as far as they are known.
	ImageVolumes map[string]string
	// RecursiveReadOnly says that the node can mount so.
	RecursiveReadOnly bool
	Stop              *Stop

	Containers map[string]*Container // by name; a missing one is absent
}

// Verb is what an Action does.
type Verb string

// The verbs. All may be repeated, also after a crash in the middle.
const (
	None     Verb = ""
	Setup    Verb = "setup"    // prepare directories, volumes, cgroup, namespaces and network
	Image    Verb = "image"    // make the container's image present
	Create   Verb = "create"   // create the attempt
	Start    Verb = "start"    // start the created attempt
	StopIt   Verb = "stop"     // run preStop, then send the stop signal
	Kill     Verb = "kill"     // send SIGKILL to everything in the container
	Enact    Verb = "enact"    // make allocated resources true, of the Pod's control group and its running containers
	Anew     Verb = "anew"     // mark all attempts, none of which runs, to be started anew (End.Anew)
	Teardown Verb = "teardown" // undo Setup
	Finish   Verb = "finish"   // remove the deleted Pod from the API
)

// Action is one thing to do now.
type Action struct {
	Verb      Verb
	Container string
	Attempt   int
	Grace     time.Duration // StopIt: time the preStop hook and the process have in all
	Message   string        // StopIt: why, for the event; Anew: which container asked for it
	Replace   bool          // StopIt: a new attempt is to follow
}

func (a Action) String() string {
	var b strings.Builder
	b.WriteString(string(a.Verb))
	if a.Container != "" {
		fmt.Fprintf(&b, " %s", a.Container)
	}
	if a.Verb == Create || a.Verb == Start {
		fmt.Fprintf(&b, "#%d", a.Attempt)
	}
	if a.Verb == StopIt {
		fmt.Fprintf(&b, " grace=%s: %s", a.Grace, a.Message)
	}
	return b.String()
}

// Decision is what a Pod needs next.
type Decision struct {
	Actions []Action
	Status  v1.PodStatus
	Again   time.Time // ask again at this time even if nothing happened; zero: only on an event
}

// again lowers d.Again to t.
func (d *Decision) again(t time.Time) {
	if d.Again.IsZero() || t.Before(d.Again) {
		d.Again = t
	}
}
