package index

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/pv"
)

const byClaim = "claim"

// freeKey cannot be a claim's: it begins with a slash.
func freeKey(class string) string { return "/free/" + class }

// AddVolumes indexes PersistentVolumes by the claim that they are kept for, and those for nobody by class.
func AddVolumes(volumes cache.SharedIndexInformer) {
	add(volumes, byClaim, VolumeKeys)
}

// VolumeKeys is the index function of AddVolumes.
func VolumeKeys(obj any) ([]string, error) {
	v, ok := obj.(*corev1.PersistentVolume)
	if !ok {
		return nil, fmt.Errorf("index %s: got %T, want a PersistentVolume", byClaim, obj)
	}
	if ref := v.Spec.ClaimRef; ref != nil {
		return []string{ref.Namespace + "/" + ref.Name}, nil
	}
	return []string{freeKey(volume.GetPersistentVolumeClass(v))}, nil
}

// KeptFor returns the cached volumes that name a claim of that namespace and name.
func KeptFor(ix cache.Indexer, namespace, name string) []*corev1.PersistentVolume {
	return lookup[*corev1.PersistentVolume](ix, byClaim, namespace+"/"+name)
}

// FreeVolumes returns the cached volumes of a class that name no claim.
func FreeVolumes(ix cache.Indexer, class string) []*corev1.PersistentVolume {
	return lookup[*corev1.PersistentVolume](ix, byClaim, freeKey(class))
}

// AddClaimUsers indexes Pods by the claims that they use.
func AddClaimUsers(pods cache.SharedIndexInformer) {
	add(pods, byClaim, func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("index %s: got %T, want a Pod", byClaim, obj)
		}
		var keys []string
		for i := range pod.Spec.Volumes {
			if name := pv.ClaimOf(pod, &pod.Spec.Volumes[i]); name != "" {
				keys = append(keys, pod.Namespace+"/"+name)
			}
		}
		return keys, nil
	})
}

// ClaimUsers returns the cached Pods that use a claim.
func ClaimUsers(ix cache.Indexer, namespace, name string) []*corev1.Pod {
	return lookup[*corev1.Pod](ix, byClaim, namespace+"/"+name)
}

const byVolume = "volume"

// AddVolumeNodes indexes Nodes by the volumes that their status names.
func AddVolumeNodes(nodes cache.SharedIndexInformer) {
	add(nodes, byVolume, func(obj any) ([]string, error) {
		n, ok := obj.(*corev1.Node)
		if !ok {
			return nil, fmt.Errorf("index %s: got %T, want a Node", byVolume, obj)
		}
		var keys []string
		for _, v := range n.Status.VolumesInUse {
			keys = append(keys, string(v))
		}
		for _, v := range n.Status.VolumesAttached {
			keys = append(keys, string(v.Name))
		}
		return keys, nil
	})
}

// VolumeNodes returns the cached Nodes whose status names a volume, each once.
func VolumeNodes(ix cache.Indexer, volume corev1.UniqueVolumeName) []*corev1.Node {
	return lookup[*corev1.Node](ix, byVolume, string(volume))
}

// AddAttachments indexes VolumeAttachments by the PersistentVolume that they attach.
func AddAttachments(attachments cache.SharedIndexInformer) {
	add(attachments, byVolume, func(obj any) ([]string, error) {
		a, ok := obj.(*storagev1.VolumeAttachment)
		if !ok {
			return nil, fmt.Errorf("index %s: got %T, want a VolumeAttachment", byVolume, obj)
		}
		if name := a.Spec.Source.PersistentVolumeName; name != nil {
			return []string{*name}, nil
		}
		return nil, nil
	})
}

// Attachments returns the cached VolumeAttachments of a PersistentVolume.
func Attachments(ix cache.Indexer, volume string) []*storagev1.VolumeAttachment {
	return lookup[*storagev1.VolumeAttachment](ix, byVolume, volume)
}
