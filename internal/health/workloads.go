package health

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// deployment: the rollout is over when the new template's replicas are all there, all available, and no old one is left.
func deployment(o object) Health {
	if !o.seen() {
		return progressing("the controller has not seen this version yet")
	}
	if c, ok := o.condition("Progressing"); ok && c.status == "False" && c.reason == "ProgressDeadlineExceeded" {
		return degraded("the rollout exceeded its progress deadline: %s", c.why())
	}
	want := o.number(1, "spec", "replicas")
	updated := o.number(0, "status", "updatedReplicas")
	all := o.number(0, "status", "replicas")
	available := o.number(0, "status", "availableReplicas")
	if c, ok := o.condition("ReplicaFailure"); ok && c.status == "True" && available < want {
		return degraded("Pods cannot be created: %s", c.why())
	}
	paused, _, _ := unstructured.NestedBool(o.Object, "spec", "paused")
	switch {
	case paused && updated < want:
		return Health{Degraded, "the rollout is paused; set spec.paused to false"}
	case updated < want:
		return progressing("%d of %d replicas are of the new version", updated, want)
	case all > updated:
		return progressing("%d replicas of the old version are still there", all-updated)
	case available < updated:
		return progressing("%d of %d replicas are available", available, updated)
	}
	return healthy
}

func replicaSet(o object) Health {
	if !o.seen() {
		return progressing("the controller has not seen this version yet")
	}
	want := o.number(1, "spec", "replicas")
	available := o.number(0, "status", "availableReplicas")
	if c, ok := o.condition("ReplicaFailure"); ok && c.status == "True" && available < want {
		return degraded("Pods cannot be created: %s", c.why())
	}
	if available < want {
		return progressing("%d of %d replicas are available", available, want)
	}
	return healthy
}

func statefulSet(o object) Health {
	if !o.seen() {
		return progressing("the controller has not seen this version yet")
	}
	want := o.number(1, "spec", "replicas")
	if ready := o.number(0, "status", "readyReplicas"); ready < want {
		return progressing("%d of %d replicas are ready", ready, want)
	}
	if o.text("spec", "updateStrategy", "type") == "OnDelete" {
		return healthy
	}
	if partition := o.number(0, "spec", "updateStrategy", "rollingUpdate", "partition"); partition > 0 {
		if updated := o.number(0, "status", "updatedReplicas"); updated < want-partition {
			return progressing("%d of %d replicas above the partition are of the new version", updated, want-partition)
		}
		return healthy
	}
	if cur, upd := o.text("status", "currentRevision"), o.text("status", "updateRevision"); cur != upd {
		return progressing("%d of %d replicas are of the new version", o.number(0, "status", "updatedReplicas"), want)
	}
	return healthy
}

func daemonSet(o object) Health {
	if !o.seen() {
		return progressing("the controller has not seen this version yet")
	}
	want := o.number(0, "status", "desiredNumberScheduled")
	if o.text("spec", "updateStrategy", "type") != "OnDelete" {
		if updated := o.number(0, "status", "updatedNumberScheduled"); updated < want {
			return progressing("%d of %d nodes have the new version", updated, want)
		}
	}
	if available := o.number(0, "status", "numberAvailable"); available < want {
		return progressing("available on %d of %d nodes", available, want)
	}
	return healthy
}

// waitingForever are reasons for which a container waits until somebody changes something.
var waitingForever = map[string]bool{
	"CrashLoopBackOff": true, "ImagePullBackOff": true, "ErrImagePull": true, "ErrImageNeverPull": true, "InvalidImageName": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
}

func pod(o object) Health {
	switch o.text("status", "phase") {
	case "Succeeded":
		return healthy
	case "Failed":
		return degraded("the Pod failed: %s", first(o.text("status", "message"), o.text("status", "reason"), "see kubectl describe"))
	}
	for _, list := range []string{"initContainerStatuses", "containerStatuses"} {
		statuses, _, err := unstructured.NestedSlice(o.Object, "status", list)
		if err != nil {
			continue
		}
		for _, s := range statuses {
			m, ok := s.(map[string]any)
			if !ok {
				continue
			}
			reason, _, _ := unstructured.NestedString(m, "state", "waiting", "reason")
			message, _, _ := unstructured.NestedString(m, "state", "waiting", "message")
			if waitingForever[reason] {
				return degraded("container %s: %s", text(m["name"]), first(message, reason))
			}
		}
	}
	if c, ok := o.condition("PodScheduled"); ok && c.status == "False" {
		return progressing("not scheduled: %s", c.why())
	}
	if c, ok := o.condition("Ready"); ok && c.status == "True" {
		return healthy
	}
	return progressing("the Pod is not ready")
}

// job: a finished Job is healthy; a running one progresses, and so an Application with a Job waits for it.
func job(o object) Health {
	if c, ok := o.condition("Failed"); ok && c.status == "True" {
		return degraded("the Job failed: %s", c.why())
	}
	for _, done := range []string{"Complete", "SuccessCriteriaMet"} {
		if c, ok := o.condition(done); ok && c.status == "True" {
			return healthy
		}
	}
	if c, ok := o.condition("Suspended"); ok && c.status == "True" {
		return Health{Healthy, ""}
	}
	return progressing("%d of %d completions", o.number(0, "status", "succeeded"), o.number(1, "spec", "completions"))
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
