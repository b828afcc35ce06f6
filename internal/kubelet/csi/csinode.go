package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
)

// annIDs is the Node's annotation with its ID at each driver, as JSON; attachers of before there were CSINodes read it.
const annIDs = "csi.volume.kubernetes.io/nodeid"

// withDriver is a CSINode that lists a driver as it says of itself; the same one if it does already.
func withDriver(have *storagev1.CSINode, i nodeInfo) *storagev1.CSINode {
	d := storagev1.CSINodeDriver{Name: i.Driver, NodeID: i.ID, TopologyKeys: slices.Sorted(maps.Keys(i.Topology))}
	if i.Limit > 0 {
		d.Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To(int32(min(i.Limit, 1<<31-1)))}
	}
	at := slices.IndexFunc(have.Spec.Drivers, func(o storagev1.CSINodeDriver) bool { return o.Name == i.Driver })
	if at >= 0 && sameDriver(have.Spec.Drivers[at], d) {
		return have
	}
	next := withoutDriver(have, i.Driver)
	if next == have {
		next = have.DeepCopy()
	}
	next.Spec.Drivers = append(next.Spec.Drivers, d)
	return next
}

func sameDriver(a, b storagev1.CSINodeDriver) bool {
	limit := func(d storagev1.CSINodeDriver) int32 {
		if d.Allocatable == nil {
			return 0
		}
		return ptr.Deref(d.Allocatable.Count, 0)
	}
	return sameIdentity(a, b) && limit(a) == limit(b)
}

// sameIdentity compares what the API lets nobody change of a driver that is listed.
func sameIdentity(a, b storagev1.CSINodeDriver) bool {
	return a.NodeID == b.NodeID && slices.Equal(a.TopologyKeys, b.TopologyKeys)
}

// withoutDriver is a CSINode that does not list a driver; the same one if it does not.
func withoutDriver(have *storagev1.CSINode, name string) *storagev1.CSINode {
	is := func(d storagev1.CSINodeDriver) bool { return d.Name == name }
	if !slices.ContainsFunc(have.Spec.Drivers, is) {
		return have
	}
	next := have.DeepCopy()
	next.Spec.Drivers = slices.DeleteFunc(next.Spec.Drivers, is)
	return next
}

// atNode is what a Node is to say about a driver: its IDs, and the labels of where it is. A label that says something else already stays, and is an error:
// drivers that disagree would send volumes to where they cannot be reached.
func atNode(node *v1.Node, i nodeInfo, gone bool) (annotation string, labels map[string]string, err error) {
	ids := map[string]string{}
	if text := node.Annotations[annIDs]; text != "" && json.Unmarshal([]byte(text), &ids) != nil {
		ids = map[string]string{} // nobody else writes it: it is made anew
	}
	if gone {
		delete(ids, i.Driver)
	} else {
		ids[i.Driver] = i.ID
		labels = map[string]string{}
		for _, k := range slices.Sorted(maps.Keys(i.Topology)) {
			if was, ok := node.Labels[k]; ok && was != i.Topology[k] {
				return "", nil, fmt.Errorf("it says that this node is at %s=%s, and the Node's label says %s; correct the driver or remove the label", k, i.Topology[k], was)
			} else if !ok {
				labels[k] = i.Topology[k]
			}
		}
	}
	b, err := json.Marshal(ids)
	return string(b), labels, err
}

// publish tells the cluster of a driver.
func (n *Node) publish(ctx context.Context, i nodeInfo) error {
	node, err := n.describe(ctx, i, false)
	if err != nil {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := n.csiNode(ctx, node)
		if err != nil {
			return err
		}
		next := withDriver(have, i)
		if next == have {
			return nil
		}
		was := slices.IndexFunc(have.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == i.Driver })
		if was >= 0 && !sameIdentity(have.Spec.Drivers[was], next.Spec.Drivers[len(next.Spec.Drivers)-1]) {
			// The API wants to see it go before it comes back as another.
			without, err := n.Client.StorageV1().CSINodes().Update(ctx, withoutDriver(have, i.Driver), metav1.UpdateOptions{})
			if err != nil {
				return err
			}
			next = withDriver(without, i)
		}
		_, err = n.Client.StorageV1().CSINodes().Update(ctx, next, metav1.UpdateOptions{})
		return err
	})
}

// withdraw tells the cluster that a driver is gone.
func (n *Node) withdraw(ctx context.Context, i nodeInfo) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := n.Client.StorageV1().CSINodes().Get(ctx, n.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		next := withoutDriver(have, i.Driver)
		if next == have {
			return nil
		}
		_, err = n.Client.StorageV1().CSINodes().Update(ctx, next, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	_, err = n.describe(ctx, i, true)
	return err
}

// csiNode gives the node's CSINode, and makes it if there is none. It goes with the Node.
func (n *Node) csiNode(ctx context.Context, node *v1.Node) (*storagev1.CSINode, error) {
	have, err := n.Client.StorageV1().CSINodes().Get(ctx, n.Name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return have, err
	}
	return n.Client.StorageV1().CSINodes().Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
	}}, metav1.CreateOptions{})
}

// describe writes at the Node what it is to say about a driver.
func (n *Node) describe(ctx context.Context, i nodeInfo, gone bool) (*v1.Node, error) {
	n.describing.Lock() // several drivers share an annotation
	defer n.describing.Unlock()
	node, err := n.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		if gone && apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	ids, labels, err := atNode(node, i, gone)
	if err != nil || node.Annotations[annIDs] == ids && len(labels) == 0 {
		return node, err
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annIDs: ids}, "labels": labels}})
	if err != nil {
		return nil, err
	}
	return n.Client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{})
}
