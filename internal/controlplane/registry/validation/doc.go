// Package validation holds the rules that an object must keep to be stored: one pure function per kind and operation.
//
// In: an object that package defaults has completed and, for an update, the object that is stored now.
// Out: every rule that is broken, as field, value and reason, in the order in which the fields are declared. An empty list
// means that the object may be stored.
//
//	Kind(obj)                  what may be created
//	KindUpdate(obj, old)       what obj may be replaced with: the content's rules and what may not change
//	KindStatusUpdate(obj, old) the same for the status subresource, whose rest the caller has already put back
//
// The rules are those that the types of k8s.io/api document. Reasons keep the words that clients of Kubernetes already know,
// because people search for them and some clients match them.
//
// It never changes an object, never reads the cluster or the clock, and never checks what only a running allocator, another
// object or a user's rights can tell: free cluster IPs and node ports, a Pod's ServiceAccount, quota and Pod Security belong to
// the registry and to admission. Any input that decodes is safe, however wrong.
package validation
