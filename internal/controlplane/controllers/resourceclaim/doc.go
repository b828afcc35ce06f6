// Package resourceclaim makes the ResourceClaims that Pods want from templates, and gives devices back that no Pod uses any more (KEP-4381).
//
// In: Pods, ResourceClaimTemplates, ResourceClaims. Out: a claim for each template that a Pod names, with its name in the Pod's status; claims without the Pods that have ended in
// status.reservedFor, without their allocation once nobody is in there, and deleted once the Pod that they were made for has ended. It never allocates: the scheduler does.
package resourceclaim
