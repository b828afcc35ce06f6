package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// sidecar says whether an init container keeps running beside the app containers (KEP-753).
func sidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// started says whether a running container counts as started: its startup probe and its postStart hook are through.
func started(o *Container) bool { return o.StartupOK && o.PostStart == HookDone }

// member is a container of a Pod; init says that it is an init container which is to end before the next one starts, guest that it was added to look at
// the Pod (an ephemeral container, KEP-277): it is never restarted, and nothing of the Pod depends on it.
type member struct {
	*v1.Container
	init, guest bool
}

// Ephemeral gives an ephemeral container in the form of any other; it has all of that one's fields.
func Ephemeral(e *v1.EphemeralContainer) *v1.Container {
	return (*v1.Container)(&e.EphemeralContainerCommon)
}

// all lists the containers in the order in which they are started; ephemeral ones, which come later or never, are last.
func all(spec *v1.PodSpec) []member {
	out := make([]member, 0, len(spec.InitContainers)+len(spec.Containers))
	for i := range spec.InitContainers {
		out = append(out, member{Container: &spec.InitContainers[i], init: !sidecar(&spec.InitContainers[i])})
	}
	for i := range spec.Containers {
		out = append(out, member{Container: &spec.Containers[i]})
	}
	for i := range spec.EphemeralContainers {
		out = append(out, member{Container: Ephemeral(&spec.EphemeralContainers[i]), guest: true})
	}
	return out
}

// restarts says whether a container that ended like this is to be started again: its own rules first (KEP-5307), then its own
// policy, then the Pod's. An init container that has passed is never restarted, and under Always it is restarted only on failure.
func restarts(spec *v1.PodSpec, c *v1.Container, end *End, init bool) bool {
	for i := range spec.EphemeralContainers {
		if spec.EphemeralContainers[i].Name == c.Name {
			return false
		}
	}
	if end.Replaced || end.Anew || rule(c, end) != "" {
		return true
	}
	policy := spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = v1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return end.ExitCode != 0
	}
	return !init || end.ExitCode != 0
}

func matches(r *v1.ContainerRestartRuleOnExitCodes, code int32) bool {
	in := false
	for _, v := range r.Values {
		in = in || v == code
	}
	return in == (r.Operator == v1.ContainerRestartRuleOnExitCodesOpIn)
}

// NeedsAddress says whether the container's environment holds an address of the Pod, so that it cannot be created before there is one.
func NeedsAddress(c *v1.Container) bool {
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && strings.HasPrefix(e.ValueFrom.FieldRef.FieldPath, "status.podIP") {
			return true
		}
	}
	return false
}

// SpecHash identifies what of a container's spec, if changed, needs a new attempt. Of the fields that the API lets one
// change on a running Pod that is the image alone.
func SpecHash(c *v1.Container) string {
	b, _ := json.Marshal([]string{c.Name, c.Image}) // strings always marshal
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
