package attachdetach

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Observed is what a decision about one volume rests on.
type Observed struct {
	Volume *corev1.PersistentVolume
	Driver *storagev1.CSIDriver // of the volume; nil if it has none
	// Pods use the volume, on nodes that they were bound to, and have not ended.
	Pods []Pod
	// Attachments are all of the volume.
	Attachments []*storagev1.VolumeAttachment
	// Nodes are all that Pods or Attachments name, or that have the volume in their status; those that do not exist are missing.
	Nodes map[string]*corev1.Node
}

// Pod is one that uses the volume.
type Pod struct {
	*corev1.Pod
	ReadOnly bool // by its own word
}

// Action is one thing to do. They are done in order, and those about the same volume look again after each.
type Action struct {
	// List and Unlist name a Node whose status is to list the volume, or not to.
	List, Unlist string
	Create       *storagev1.VolumeAttachment
	Delete       *storagev1.VolumeAttachment
	// Confirm names a Node that is to be looked for in the API itself before the Delete.
	Confirm string
}

func (a Action) String() string {
	switch {
	case a.List != "":
		return "list it at " + a.List
	case a.Unlist != "":
		return "list it at " + a.Unlist + " no more"
	case a.Create != nil:
		return "attach it to " + a.Create.Spec.NodeName
	case a.Confirm != "":
		return "detach it from " + a.Delete.Spec.NodeName + ", if that does not exist"
	}
	return "detach it from " + a.Delete.Spec.NodeName
}

// Event is what a Pod is told.
type Event struct {
	Pod             *corev1.Pod
	Type            string
	Reason, Message string
}

// Decision is what follows from what was observed.
type Decision struct {
	Actions []Action
	Events  []Event
}

// Decide looks at one volume.
func Decide(o Observed) Decision {
	d := decision{Observed: o, hold: pv.HoldOf(o.Volume, o.Driver), name: pv.UniqueName(o.Volume)}
	d.wanted = map[string]bool{}
	if d.hold != pv.Free {
		d.want()
	}
	for _, name := range d.places() {
		if !d.wanted[name] {
			d.take(name)
		}
	}
	for _, name := range d.order {
		d.give(name)
	}
	return d.Decision
}

type decision struct {
	Observed
	Decision
	hold   pv.Hold
	name   corev1.UniqueVolumeName
	wanted map[string]bool
	order  []string // of wanted, those who came first at the front
}

// want finds the nodes that are to have the volume. Of several that may not all have it that is the one which has it, else that of the oldest Pod; the Pods on
// others are told.
func (d *decision) want() {
	slices.SortStableFunc(d.Pods, func(a, b Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	shared := !pv.Once(d.Volume) || d.allRead()
	has := ""
	if !shared {
		for _, p := range d.Pods {
			if has == "" && d.has(p.Spec.NodeName) {
				has = p.Spec.NodeName
			}
		}
	}
	for _, p := range d.Pods {
		at := p.Spec.NodeName
		switch {
		case d.Nodes[at] == nil || d.wanted[at]:
		case shared || has == "" || has == at:
			d.wanted[at] = true
			d.order = append(d.order, at)
			has = at
		default:
			d.tell(p.Pod, corev1.EventTypeWarning, "FailedAttachVolume", fmt.Sprintf("Multi-Attach error for volume %q Volume is already used by pod(s) on node %s, and %v allows one node only", d.Volume.Name, has, d.Volume.Spec.AccessModes))
		}
	}
}

// allRead says that the volume may be read by many and that no Pod wants to do more.
func (d *decision) allRead() bool {
	return slices.Contains(d.Volume.Spec.AccessModes, corev1.ReadOnlyMany) && !slices.ContainsFunc(d.Pods, func(p Pod) bool { return !p.ReadOnly })
}

// places are the nodes that have the volume or some of it.
func (d *decision) places() []string {
	var out []string
	for name := range d.Nodes {
		if d.has(name) {
			out = append(out, name)
		}
	}
	for _, a := range d.Attachments {
		out = append(out, a.Spec.NodeName)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// has says whether a node has the volume, in whatever way.
func (d *decision) has(node string) bool {
	return d.attachment(node) != nil || d.listed(node) || d.inUse(node)
}

func (d *decision) attachment(node string) *storagev1.VolumeAttachment {
	for _, a := range d.Attachments {
		if a.Spec.NodeName == node {
			return a
		}
	}
	return nil
}

func (d *decision) listed(node string) bool {
	n := d.Nodes[node]
	return n != nil && slices.ContainsFunc(n.Status.VolumesAttached, func(v corev1.AttachedVolume) bool { return v.Name == d.name })
}

func (d *decision) inUse(node string) bool {
	n := d.Nodes[node]
	return n != nil && slices.Contains(n.Status.VolumesInUse, d.name)
}

// take takes the volume from a node.
func (d *decision) take(node string) {
	a, n := d.attachment(node), d.Nodes[node]
	switch {
	case n != nil && d.listed(node):
		d.Actions = append(d.Actions, Action{Unlist: node})
	case n != nil && d.inUse(node) && !outOfService(n), a == nil || a.DeletionTimestamp != nil:
		// It is unmounting, or not heard of; or detaching has begun.
	case n == nil:
		d.Actions = append(d.Actions, Action{Delete: a, Confirm: node})
	default:
		d.Actions = append(d.Actions, Action{Delete: a})
	}
}

// outOfService says that somebody has declared that a node's machine does not run.
func outOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// give gives the volume to a node, once nobody else has it who may not share it.
func (d *decision) give(node string) {
	if !d.allRead() && pv.Once(d.Volume) {
		for _, other := range d.places() {
			if other != node && !d.isFree(other) {
				d.blocked(node, other)
				return
			}
		}
	}
	a := d.attachment(node)
	switch {
	case d.hold == pv.Granted && !d.listed(node):
		d.Actions = append(d.Actions, Action{List: node})
	case d.hold == pv.Granted:
	case a == nil:
		d.Actions = append(d.Actions, Action{Create: d.newAttachment(node)})
	case a.DeletionTimestamp != nil:
		if d.listed(node) {
			d.Actions = append(d.Actions, Action{Unlist: node})
		}
	case a.Status.Attached && !d.listed(node):
		d.Actions = append(d.Actions, Action{List: node})
		d.tellAt(node, corev1.EventTypeNormal, "SuccessfulAttachVolume", fmt.Sprintf("AttachVolume.Attach succeeded for volume %q ", d.Volume.Name))
	case !a.Status.Attached && a.Status.AttachError != nil:
		d.tellAt(node, corev1.EventTypeWarning, "FailedAttachVolume", fmt.Sprintf("AttachVolume.Attach failed for volume %q : %s", d.Volume.Name, a.Status.AttachError.Message))
	}
}

// isFree says that a node which once had the volume cannot write to it: it is not attached, and either the node says that it uses it no more, or the machine is off.
func (d *decision) isFree(node string) bool {
	n := d.Nodes[node]
	return d.attachment(node) == nil && !d.listed(node) && (!d.inUse(node) || n != nil && outOfService(n))
}

func (d *decision) blocked(node, by string) {
	text := fmt.Sprintf("Multi-Attach error for volume %q Volume is still at node %s", d.Volume.Name, by)
	if n := d.Nodes[by]; n != nil && d.inUse(by) && !ready(n) {
		text += ", which is not heard of and may be writing to it: once that machine is certain to be off, taint its Node (kubectl taint node " + by + " node.kubernetes.io/out-of-service=nodeshutdown:NoExecute) or delete it"
	}
	d.tellAt(node, corev1.EventTypeWarning, "FailedAttachVolume", text)
}

func ready(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func (d *decision) newAttachment(node string) *storagev1.VolumeAttachment {
	s := d.Volume.Spec.CSI
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: pv.AttachmentName(s.Driver, s.VolumeHandle, node)},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: s.Driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &d.Volume.Name}},
	}
}

func (d *decision) tell(p *corev1.Pod, kind, reason, message string) {
	d.Events = append(d.Events, Event{Pod: p, Type: kind, Reason: reason, Message: message})
}

func (d *decision) tellAt(node, kind, reason, message string) {
	for _, p := range d.Pods {
		if p.Spec.NodeName == node {
			d.tell(p.Pod, kind, reason, message)
		}
	}
}
