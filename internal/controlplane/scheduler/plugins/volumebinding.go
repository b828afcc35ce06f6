package plugins

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// NoProvisioner is the provisioner of storage classes whose volumes are made by hand.
const NoProvisioner = "kubernetes.io/no-provisioner"

// VolumeBinding turns away from nodes from which the volumes of the Pod's claims cannot be reached, or where none can be found or made for a claim
// whose class waits for its first consumer (volumeBindingMode WaitForFirstConsumer).
type VolumeBinding struct{}

var _ Filter = VolumeBinding{}

// Name is the filter's name.
func (VolumeBinding) Name() string { return "VolumeBinding" }

// Prepare sorts the Pod's claims into those that are bound and those that the scheduler has to find a volume for. It refuses the Pod while a claim is
// missing, or somebody else has to bind it first.
func (VolumeBinding) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	if len(pod.Claims) == 0 {
		return nil
	}
	c := &volumeCheck{s: s}
	var unbound []string
	for _, k := range pod.Claims {
		_, name, _ := strings.Cut(k.Name, "/")
		claim := s.Claim(k.Name)
		switch {
		case claim == nil && k.Ephemeral:
			return &Refused{
				Reason: fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name),
				Remedy: fmt.Sprintf("claim %s, which is made with the Pod, is not there yet", k.Name),
			}
		case claim == nil:
			return &Refused{Reason: fmt.Sprintf("persistentvolumeclaim %q not found", name), Remedy: "create the PersistentVolumeClaim " + k.Name}
		case k.Ephemeral && !metav1.IsControlledBy(claim, pod.Object):
			return &Refused{
				Reason: fmt.Sprintf("PVC %s was not created for pod %s/%s (pod is not owner)", k.Name, pod.Object.Namespace, pod.Object.Name),
				Remedy: "a claim of that name belongs to somebody else: rename the Pod or its volume",
			}
		case claim.DeletionTimestamp != nil:
			return &Refused{
				Reason: fmt.Sprintf("persistentvolumeclaim %q is being deleted", name),
				Remedy: fmt.Sprintf("wait until claim %s is gone and create it again", k.Name),
			}
		case claim.Status.Phase == corev1.ClaimLost:
			return &Refused{
				Reason: fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName),
				Remedy: fmt.Sprintf("the volume of claim %s is gone: restore it, or delete the claim and create it again", k.Name),
			}
		case Bound(claim):
			c.bound = append(c.bound, claim)
		case claim.Spec.VolumeName == "" && waits(s, claim):
			c.delayed = append(c.delayed, claim)
		default:
			unbound = append(unbound, k.Name)
		}
	}
	if len(unbound) > 0 {
		return &Refused{
			Reason: "pod has unbound immediate PersistentVolumeClaims",
			Remedy: fmt.Sprintf("claim %s has no volume yet: its storage class has to make one, or a PersistentVolume of its class and size has to be created",
				strings.Join(unbound, ", ")),
		}
	}
	return c
}

// Bound says whether a claim has its volume.
func Bound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted)
}

// waits says whether a claim's class leaves the choice of the volume to the scheduler.
func waits(s *snapshot.Snapshot, claim *corev1.PersistentVolumeClaim) bool {
	class := s.Class(volume.GetPersistentVolumeClaimClass(claim))
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// Concerns are what changes volumes, and what they are reached from.
func (VolumeBinding) Concerns() Change { return Added | Labels | Claims | Storage }

// Helped by the Pod's own claims, by volumes and classes, and by nodes that have the right labels now.
func (VolumeBinding) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&Claims != 0 {
		return slices.ContainsFunc(pod.Claims, func(c snapshot.Claim) bool { return c.Name == e.Claim })
	}
	return true
}

// VolumePlan is what has to be written before the Pod can be bound to its node.
type VolumePlan struct {
	Static    []VolumeMatch                   // volumes that are to be claimed
	Provision []*corev1.PersistentVolumeClaim // claims for which volumes are to be made for the node
}

// VolumeMatch is a volume and the claim that gets it.
type VolumeMatch struct {
	Volume *corev1.PersistentVolume
	Claim  *corev1.PersistentVolumeClaim
}

// Empty says that nothing has to be written.
func (p VolumePlan) Empty() bool { return len(p.Static)+len(p.Provision) == 0 }

// Volumes chooses volumes for the claims of a Pod that goes to that node. It is false if there is none for one of them.
func Volumes(pod *snapshot.Pod, s *snapshot.Snapshot, n *snapshot.Node) (VolumePlan, bool) {
	c, ok := VolumeBinding{}.Prepare(pod, s).(*volumeCheck)
	if !ok {
		return VolumePlan{}, len(pod.Claims) == 0
	}
	plan, missing := c.plan(n)
	return plan, len(missing) == 0
}

type volumeCheck struct {
	s       *snapshot.Snapshot
	bound   []*corev1.PersistentVolumeClaim
	delayed []*corev1.PersistentVolumeClaim
}

// Reasons why volumes keep a Pod from a node.
const (
	volumeGone        = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
	volumeElsewhere   = "node(s) didn't match PersistentVolume's node affinity"
	volumeUnavailable = "node(s) didn't find available persistent volumes to bind"
	volumeTooLarge    = "node(s) did not have enough free storage"
	volumeCopied      = "node(s) did not have the data that a volume is to begin with"
)

// problem is what keeps the Pod's volumes from a node.
type problem struct{ reason, remedy string }

func (c *volumeCheck) problems(n *snapshot.Node) (out []problem) {
	for _, claim := range c.bound {
		name := claim.Namespace + "/" + claim.Name
		switch v := c.s.Volume(claim.Spec.VolumeName); {
		case v == nil:
			out = append(out, problem{volumeGone, fmt.Sprintf("PersistentVolume %s of claim %s is gone", claim.Spec.VolumeName, name)})
		case volume.CheckNodeAffinity(v, n.Labels) != nil:
			out = append(out, problem{volumeElsewhere, fmt.Sprintf("PersistentVolume %s of claim %s can only be reached from other nodes (its spec.nodeAffinity)", v.Name, name)})
		}
	}
	_, missing := c.plan(n)
	for _, claim := range missing {
		class := c.s.Class(volume.GetPersistentVolumeClaimClass(claim))
		if !has(claim, class, n) {
			out = append(out, problem{volumeCopied, missingData(claim)})
			continue
		}
		if claim.Annotations[volume.AnnSelectedNode] == "" && makes(class) && provisions(class, n) {
			out = append(out, c.tooLarge(claim, class, n))
			continue
		}
		out = append(out, problem{volumeUnavailable, fmt.Sprintf("no PersistentVolume that can be reached from here is free for claim %s/%s (class %q), and none is made here",
			claim.Namespace, claim.Name, volume.GetPersistentVolumeClaimClass(claim))})
	}
	return out
}

// plan chooses a volume for each claim that waits for one, and returns those for which there is none.
func (c *volumeCheck) plan(n *snapshot.Node) (p VolumePlan, missing []*corev1.PersistentVolumeClaim) {
	chosen := map[string]*corev1.PersistentVolume{}
	for _, claim := range c.delayed {
		class := c.s.Class(volume.GetPersistentVolumeClaimClass(claim))
		if node := claim.Annotations[volume.AnnSelectedNode]; node != "" {
			// A volume is being made already, and for one node.
			if node == n.Name() {
				p.Provision = append(p.Provision, claim)
			} else {
				missing = append(missing, claim)
			}
			continue
		}
		match, err := volume.FindMatchingVolume(claim, c.s.Volumes(class.Name, claim.Namespace+"/"+claim.Name), n.Object, chosen, true, true)
		switch {
		case err == nil && match != nil:
			chosen[match.Name] = match
			p.Static = append(p.Static, VolumeMatch{match, claim})
		case makes(class) && provisions(class, n) && has(claim, class, n) && c.roomFor(claim, class, n):
			p.Provision = append(p.Provision, claim)
		default:
			missing = append(missing, claim)
		}
	}
	return p, missing
}

// makes says whether a class makes volumes at all.
func makes(class *storagev1.StorageClass) bool {
	return class.Provisioner != "" && class.Provisioner != NoProvisioner
}

// has says whether a node has what a volume of the built-in provisioner is to begin with.
func has(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *snapshot.Node) bool {
	return claim.Spec.DataSourceRef == nil && claim.Spec.DataSource == nil || class.Provisioner != pv.Provisioner || claim.Annotations[pv.AnnSourceNode] == n.Name()
}

func missingData(claim *corev1.PersistentVolumeClaim) string {
	if node := claim.Annotations[pv.AnnSourceNode]; node != "" {
		return fmt.Sprintf("what claim %s/%s is to begin with (its dataSource) is on the disk of node %s", claim.Namespace, claim.Name, node)
	}
	return fmt.Sprintf("what claim %s/%s is to begin with (its dataSource) is not there: `kubectl describe pvc -n %s %s` says why", claim.Namespace, claim.Name, claim.Namespace, claim.Name)
}

// roomFor says whether a volume of the claim's size can be made for a node, as far as its driver publishes that (KEP-1472). Each claim is looked at by itself: what a
// driver has left changes all the time, and whether several volumes come from one pool is not said. A volume that cannot be made after all gives the Pod another node.
func (c *volumeCheck) roomFor(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *snapshot.Node) bool {
	if !c.s.TellsCapacity(class.Provisioner) {
		return true
	}
	largest, ok := c.s.LargestVolume(class.Name, n)
	return ok && largest >= claim.Spec.Resources.Requests.Storage().Value()
}

func (c *volumeCheck) tooLarge(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *snapshot.Node) problem {
	there := "publishes no storage"
	if largest, ok := c.s.LargestVolume(class.Name, n); ok {
		there = "makes no volume larger than " + resource.NewQuantity(largest, resource.BinarySI).String()
	}
	return problem{volumeTooLarge, fmt.Sprintf("claim %s/%s asks for %s, driver %s %s here for class %q (CSIStorageCapacity)",
		claim.Namespace, claim.Name, claim.Spec.Resources.Requests.Storage(), class.Provisioner, there, class.Name)}
}

// provisions says whether a class makes volumes for a node, by its allowedTopologies.
func provisions(class *storagev1.StorageClass, n *snapshot.Node) bool {
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(r.Values, n.Labels[r.Key])
		})
	})
}

func (c *volumeCheck) Passes(n *snapshot.Node) bool { return len(c.problems(n)) == 0 }

func (c *volumeCheck) Explain(n *snapshot.Node) []string {
	var out []string
	for _, p := range c.problems(n) {
		if !slices.Contains(out, p.reason) {
			out = append(out, p.reason)
		}
	}
	return out
}

func (c *volumeCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, p := range c.problems(n) {
		out = append(out, p.remedy)
	}
	return out
}

func (*volumeCheck) Lasting(*snapshot.Node) bool { return true }
