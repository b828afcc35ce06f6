// Package index names the indexes that controllers share on the informers' caches, so that a lookup costs its result, not the whole cache.
//
// In: an informer. Out: the objects of one controller, the orphans of one namespace, the Pods of one node, the EndpointSlices of one Service. It never watches or lists by itself.
package index
