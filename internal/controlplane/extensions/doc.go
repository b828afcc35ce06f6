// Package extensions serves CustomResourceDefinitions and the resources that they define, with k8s.io/apiextensions-apiserver.
//
// In: the configuration that all servers of the chain share, and the storage. Out: a server that answers for apiextensions.k8s.io and for every
// established custom resource, and passes everything else on.
//
// It never stores anything elsewhere than the built-in resources are stored, and never authenticates: the head of the chain has done so.
package extensions
