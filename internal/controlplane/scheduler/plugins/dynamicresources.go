package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// DynamicResources turns away from nodes where the devices that the Pod's ResourceClaims ask for are not to be had: those that were given cannot be reached from there, or no
// driver publishes such devices there that are free. Which devices go with which claim is worked out by the published allocator.
type DynamicResources struct{}

var _ Filter = DynamicResources{}

// Name is the filter's name.
func (DynamicResources) Name() string { return "DynamicResources" }

// offered are the parts of the API that devices are allocated by: those that the allocator calls stable.
var offered = structured.Features{AdminAccess: true, PrioritizedList: true, PartitionableDevices: true, DeviceTaints: true}

// Prepare sorts the Pod's claims into those that have their devices and those that the scheduler has to find some for. It refuses the Pod while a claim is missing or cannot be used by it.
func (DynamicResources) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	if len(pod.Object.Spec.ResourceClaims) == 0 {
		return nil
	}
	c := &DeviceCheck{pod: pod.Object, s: s, found: map[string]deviceAnswer{}}
	for i := range pod.Object.Spec.ResourceClaims {
		claim, refused := deviceClaim(pod.Object, &pod.Object.Spec.ResourceClaims[i], s)
		switch {
		case refused != nil:
			return refused
		case claim == nil:
		case s.Allocation(claim) != nil:
			c.given = append(c.given, claim)
		default:
			c.pending = append(c.pending, claim)
		}
	}
	if len(c.pending) == 0 {
		return c
	}
	var err error
	state := structured.AllocatedState{AllocatedDevices: s.DevicesTaken(), AggregatedCapacity: structured.NewConsumedCapacityCollection()}
	if c.allocator, err = structured.NewAllocator(context.Background(), offered, state, s.DeviceClasses(), s.Slices(), s.Expressions()); err != nil {
		return &Refused{Reason: err.Error(), Remedy: "correct the ResourceClaim, or the DeviceClass that it names: " + err.Error()}
	}
	return c
}

// deviceClaim finds a claim of a Pod, or says why the Pod has to wait. Both are nil for one that is not needed.
func deviceClaim(pod *corev1.Pod, of *corev1.PodResourceClaim, s *snapshot.Snapshot) (*resourcev1.ResourceClaim, *Refused) {
	name, mustOwn, err := resourceclaim.Name(pod, of)
	switch {
	case errors.Is(err, resourceclaim.ErrClaimNotFound):
		return nil, &Refused{
			Reason: fmt.Sprintf("waiting for the ResourceClaim of %q to be created", of.Name),
			Remedy: fmt.Sprintf("the claim is made from the ResourceClaimTemplate %q, which has to be there", *of.ResourceClaimTemplateName),
		}
	case err != nil:
		return nil, &Refused{Reason: err.Error(), Remedy: "correct spec.resourceClaims"}
	case name == nil:
		return nil, nil
	}
	claim := s.DeviceClaim(pod.Namespace + "/" + *name)
	switch {
	case claim == nil:
		return nil, &Refused{Reason: fmt.Sprintf("resourceclaim %q not found", *name), Remedy: fmt.Sprintf("create the ResourceClaim %s/%s", pod.Namespace, *name)}
	case claim.DeletionTimestamp != nil:
		return nil, &Refused{Reason: fmt.Sprintf("resourceclaim %q is being deleted", *name), Remedy: "wait until it is gone and create it again"}
	}
	if mustOwn {
		if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
			return nil, &Refused{Reason: err.Error(), Remedy: "a claim of that name belongs to somebody else: delete it"}
		}
	}
	if claim.Status.Allocation == nil && s.Allocation(claim) != nil {
		return nil, &Refused{
			Reason: fmt.Sprintf("resourceclaim %q is being given devices for another Pod", *name),
			Remedy: fmt.Sprintf("wait until that is in the status of ResourceClaim %s/%s", pod.Namespace, *name),
		}
	}
	if claim.Status.Allocation != nil && !resourceclaim.IsReservedForPod(pod, claim, false) && !resourceclaim.CanBeReserved(claim) {
		return nil, &Refused{
			Reason: fmt.Sprintf("resourceclaim %q is in use by as many Pods as can be", *name),
			Remedy: fmt.Sprintf("wait until one of the Pods in status.reservedFor of ResourceClaim %s/%s has ended", pod.Namespace, *name),
		}
	}
	return claim, nil
}

// Concerns are what changes devices and claims, what they are reached from, and Pods that end: with them go their claims.
func (DynamicResources) Concerns() Change { return Added | Labels | Devices }

// Helped by whatever changes devices, classes and claims: a claim that goes leaves devices to others.
func (DynamicResources) Helped(*snapshot.Pod, Event) bool { return true }

// DeviceGrant is what has to be written about a claim before the Pod can be bound.
type DeviceGrant struct {
	Claim      *resourcev1.ResourceClaim
	Allocation *resourcev1.AllocationResult // nil for one that has its devices, and lacks only the Pod among its users
}

// Grants chooses devices for the claims of a Pod that goes to that node. It is false if there are none for one of them.
func Grants(pod *snapshot.Pod, s *snapshot.Snapshot, n *snapshot.Node) ([]DeviceGrant, bool) {
	c, ok := DynamicResources{}.Prepare(pod, s).(*DeviceCheck)
	if !ok {
		return nil, len(pod.Object.Spec.ResourceClaims) == 0
	}
	if !c.Passes(n) {
		return nil, false
	}
	var out []DeviceGrant
	for i, claim := range c.pending {
		out = append(out, DeviceGrant{claim, &c.find(n).results[i]})
	}
	for _, claim := range c.given {
		if !resourceclaim.IsReservedForPod(pod.Object, claim, false) {
			out = append(out, DeviceGrant{Claim: claim})
		}
	}
	return out, true
}

// DeviceCheck is the Check of a Pod that uses devices.
type DeviceCheck struct {
	pod            *corev1.Pod
	s              *snapshot.Snapshot
	given, pending []*resourcev1.ResourceClaim
	allocator      structured.Allocator
	found          map[string]deviceAnswer // by node
}

type deviceAnswer struct {
	results []resourcev1.AllocationResult // one for each pending claim; nil for none
	err     error
}

func (c *DeviceCheck) find(n *snapshot.Node) deviceAnswer {
	a, ok := c.found[n.Name()]
	if !ok {
		a.results, a.err = c.allocator.Allocate(context.Background(), n.Object, c.pending)
		c.found[n.Name()] = a
	}
	return a
}

// elsewhere are the claims with devices that cannot be reached from a node.
func (c *DeviceCheck) elsewhere(n *snapshot.Node) (out []*resourcev1.ResourceClaim) {
	for _, claim := range c.given {
		sel := c.s.Allocation(claim).NodeSelector
		if sel == nil {
			continue
		}
		if selector, err := nodeaffinity.NewNodeSelector(sel); err != nil || !selector.Match(n.Object) {
			out = append(out, claim)
		}
	}
	return out
}

// Idle are the claims that were given devices for this Pod, which has no node yet, and for nobody else.
func (c *DeviceCheck) Idle() (out []*resourcev1.ResourceClaim) {
	for _, claim := range c.given {
		if Idle(claim, c.pod) {
			out = append(out, claim)
		}
	}
	return out
}

// IdleElsewhere are those of the idle claims whose devices cannot be reached from a node; nil if others keep the Pod from it as well, that cannot be given back.
func (c *DeviceCheck) IdleElsewhere(n *snapshot.Node) []*resourcev1.ResourceClaim {
	out := c.elsewhere(n)
	if slices.ContainsFunc(out, func(claim *resourcev1.ResourceClaim) bool { return !Idle(claim, c.pod) }) {
		return nil
	}
	return out
}

// Idle says whether nobody uses the devices of a claim as long as the Pod has no node.
func Idle(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return claim.Status.Allocation != nil &&
		!slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID != pod.UID })
}

func (c *DeviceCheck) problems(n *snapshot.Node) (out []problem) {
	for _, claim := range c.elsewhere(n) {
		out = append(out, problem{"resourceclaim not available on the node", fmt.Sprintf("ResourceClaim %s/%s has devices that can only be reached from other nodes (its status.allocation.nodeSelector)", claim.Namespace, claim.Name)})
	}
	if len(c.pending) == 0 {
		return out
	}
	switch a := c.find(n); {
	case a.err != nil:
		out = append(out, problem{strings.TrimSpace("cannot allocate devices: " + a.err.Error()), "correct the ResourceClaim, or the DeviceClass that it names: " + a.err.Error()})
	case len(a.results) != len(c.pending):
		var names []string
		for _, claim := range c.pending {
			names = append(names, claim.Namespace+"/"+claim.Name)
		}
		out = append(out, problem{"cannot allocate all claims", fmt.Sprintf("no driver publishes devices here (kubectl get resourceslices) that are free and are what ResourceClaim %s asks for", strings.Join(names, ", "))})
	}
	return out
}

func (c *DeviceCheck) Passes(n *snapshot.Node) bool { return len(c.problems(n)) == 0 }

func (c *DeviceCheck) Explain(n *snapshot.Node) []string {
	var out []string
	for _, p := range c.problems(n) {
		if !slices.Contains(out, p.reason) {
			out = append(out, p.reason)
		}
	}
	return out
}

func (c *DeviceCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, p := range c.problems(n) {
		out = append(out, p.remedy)
	}
	return out
}

// Lasting is true: which Pods would have to go for a device is not worked out.
func (*DeviceCheck) Lasting(*snapshot.Node) bool { return true }
