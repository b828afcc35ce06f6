// Package reference fetches what Pods refer to: ConfigMaps, Secrets, RuntimeClasses and service account tokens.
//
// In: names. Out: the objects as the API has them at or after the moment of asking, or, while the API does not answer, as they were last seen.
//
// Requests for one object at the same time share one call. It never lists or watches: a node may read only what its Pods name, one by one.
package reference
