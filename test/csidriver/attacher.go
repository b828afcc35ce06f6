package csidriver

import (
	"context"
	"fmt"
	"slices"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// attacherFinalizer keeps a VolumeAttachment until the volume is detached, and the PersistentVolume, which says what that is, until it has no VolumeAttachment.
const attacherFinalizer = "external-attacher/test"

// Attach does for the driver what the CSI project's external-attacher does, as far as nodes and the control plane can tell. It returns when ctx ends. What fails, as
// any call to the API may meanwhile, is tried again.
func (d *Driver) Attach(ctx context.Context, client kubernetes.Interface) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		d.attendAll(ctx, client)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *Driver) attendAll(ctx context.Context, client kubernetes.Interface) {
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	attachments, err := client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{}) // later: of a volume that went they are gone as well
	if err != nil {
		return
	}
	attached := map[string]bool{}
	for _, a := range attachments.Items {
		attached[*a.Spec.Source.PersistentVolumeName] = true
		if a.Spec.Attacher == d.Name {
			_ = d.attend(ctx, client, &a)
		}
	}
	for _, v := range volumes.Items {
		if v.DeletionTimestamp != nil && !attached[v.Name] && slices.Contains(v.Finalizers, attacherFinalizer) {
			v.Finalizers = slices.DeleteFunc(v.Finalizers, func(f string) bool { return f == attacherFinalizer })
			_, _ = client.CoreV1().PersistentVolumes().Update(ctx, &v, metav1.UpdateOptions{})
		}
	}
}

// attend does what is to be done next for one VolumeAttachment.
func (d *Driver) attend(ctx context.Context, client kubernetes.Interface, a *storagev1.VolumeAttachment) error {
	api := client.StorageV1().VolumeAttachments()
	if a.DeletionTimestamp == nil && len(a.Finalizers) == 0 {
		a.Finalizers = []string{attacherFinalizer}
		_, err := api.Update(ctx, a, metav1.UpdateOptions{})
		return err
	}
	if a.DeletionTimestamp == nil && a.Status.Attached {
		return nil
	}
	v, err := client.CoreV1().PersistentVolumes().Get(ctx, *a.Spec.Source.PersistentVolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if a.DeletionTimestamp == nil && !slices.Contains(v.Finalizers, attacherFinalizer) {
		v.Finalizers = append(v.Finalizers, attacherFinalizer)
		if v, err = client.CoreV1().PersistentVolumes().Update(ctx, v, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	n, err := client.StorageV1().CSINodes().Get(ctx, a.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(n.Spec.Drivers, func(o storagev1.CSINodeDriver) bool { return o.Name == d.Name })
	if at < 0 {
		return fmt.Errorf("node %s has no driver %s", n.Name, d.Name)
	}
	handle, node := v.Spec.CSI.VolumeHandle, n.Spec.Drivers[at].NodeID
	if a.DeletionTimestamp != nil {
		if _, err := d.ControllerUnpublishVolume(ctx, &spec.ControllerUnpublishVolumeRequest{VolumeId: handle, NodeId: node}); err != nil {
			return err
		}
		a.Finalizers = nil
		_, err := api.Update(ctx, a, metav1.UpdateOptions{})
		return err
	}
	done, err := d.ControllerPublishVolume(ctx, &spec.ControllerPublishVolumeRequest{VolumeId: handle, NodeId: node})
	if err != nil {
		a.Status.AttachError = &storagev1.VolumeError{Time: metav1.Now(), Message: err.Error()}
	} else {
		a.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: done.PublishContext}
	}
	_, err = api.UpdateStatus(ctx, a, metav1.UpdateOptions{})
	return err
}
