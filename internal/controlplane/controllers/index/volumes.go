package index

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"
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
