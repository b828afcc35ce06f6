package pv

import (
	"cmp"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
)

// AnnDefaultClass makes a StorageClass the default one.
const AnnDefaultClass = "storageclass.kubernetes.io/is-default-class"

// annDefaultClassBeta is the older form, which charts still write.
const annDefaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"

// IsDefault says whether a class claims to be the default one.
func IsDefault(c *storagev1.StorageClass) bool {
	return c.Annotations[AnnDefaultClass] == "true" || c.Annotations[annDefaultClassBeta] == "true"
}

// DefaultClass names the default class: the youngest that claims to be it, and among those of one age the first by name; empty when there is none.
func DefaultClass(all []*storagev1.StorageClass) string {
	defaults := slices.DeleteFunc(slices.Clone(all), func(c *storagev1.StorageClass) bool { return !IsDefault(c) })
	if len(defaults) == 0 {
		return ""
	}
	return slices.MinFunc(defaults, func(a, b *storagev1.StorageClass) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	}).Name
}
