package validation

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Lease says what may be created.
func Lease(obj *coordinationv1.Lease) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, leaseSpec(&obj.Spec)...)
}

func leaseSpec(spec *coordinationv1.LeaseSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.LeaseDurationSeconds != nil && *spec.LeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(specPath.Child("leaseDurationSeconds"), *spec.LeaseDurationSeconds, "must be greater than 0"))
	}
	errs = append(errs, optionalNonNegative(specPath.Child("leaseTransitions"), spec.LeaseTransitions)...)
	if spec.Strategy != nil {
		errs = append(errs, leaseStrategy(specPath.Child("strategy"), *spec.Strategy)...)
	}
	if spec.PreferredHolder != nil && *spec.PreferredHolder != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		errs = append(errs, field.Forbidden(specPath.Child("preferredHolder"), "may only be specified when `strategy` is defined"))
	}
	return errs
}

// leaseStrategy wants one of the known ways to elect a leader, or one with a domain of its own.
func leaseStrategy(at *field.Path, strategy coordinationv1.CoordinatedLeaseStrategy) field.ErrorList {
	if strategy == coordinationv1.OldestEmulationVersion {
		return nil
	}
	return qualifiedName(at, string(strategy))
}

// LeaseUpdate says what a Lease may be replaced with. Any holder may take it: who may write is a question of rights.
func LeaseUpdate(obj, old *coordinationv1.Lease) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, leaseSpec(&obj.Spec)...)
}
