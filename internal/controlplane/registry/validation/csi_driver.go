package validation

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CSIDriver says what may be created.
func CSIDriver(obj *storagev1.CSIDriver) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, csiDriver(metadataPath.Child("name"), obj.Name)...)
	spec := &obj.Spec
	for _, f := range []struct {
		child string
		value *bool
	}{{"attachedRequired", spec.AttachRequired}, {"podInfoOnMount", spec.PodInfoOnMount}, {"storageCapacity", spec.StorageCapacity}, {"seLinuxMount", spec.SELinuxMount}} {
		if f.value == nil {
			errs = append(errs, field.Required(specPath.Child(f.child), ""))
		}
	}
	errs = append(errs, optionalOneOf(specPath.Child("fsGroupPolicy"), spec.FSGroupPolicy,
		storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy)...)
	errs = append(errs, driverTokens(specPath.Child("tokenRequests"), spec.TokenRequests)...)
	for _, mode := range spec.VolumeLifecycleModes {
		errs = append(errs, oneOf(specPath.Child("volumeLifecycleModes"), mode, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)...)
	}
	if n := spec.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < minAllocatablePause {
		errs = append(errs, field.Invalid(specPath.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	if spec.ServiceAccountTokenInSecrets != nil && len(spec.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(specPath.Child("serviceAccountTokenInSecrets"), *spec.ServiceAccountTokenInSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	return errs
}

func driverTokens(at *field.Path, requests []storagev1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, r := range requests {
		at := at.Index(i)
		if seen[r.Audience] {
			errs = append(errs, field.Duplicate(at.Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		switch n := r.ExpirationSeconds; {
		case n == nil:
		case *n < minTokenSeconds:
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration less than 10 minutes"))
		case *n > 1<<32:
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *n, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}

// CSIDriverUpdate says what a CSIDriver may be replaced with: how its volumes are attached and used stays while there may be some.
func CSIDriverUpdate(obj, old *storagev1.CSIDriver) field.ErrorList {
	errs := append(CSIDriver(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	errs = append(errs, validateImmutable(obj.Spec.AttachRequired, old.Spec.AttachRequired, specPath.Child("attachedRequired"))...)
	return append(errs, validateImmutable(obj.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, specPath.Child("volumeLifecycleModes"))...)
}
