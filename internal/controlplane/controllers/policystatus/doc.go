// Package policystatus tells the authors of ValidatingAdmissionPolicies which of their expressions do not fit the types that the policies are about.
//
// In: ValidatingAdmissionPolicies from the informer, and the types that the API server serves. Out: status.typeChecking and status.observedGeneration.
//
// The check itself is the library's. The package never keeps a policy from counting: a warning is all that an ill-typed expression gets, as it may be right for
// another of the matched kinds.
package policystatus
