// Package serviceaccount gives every Namespace what its Pods are promised to find: the ServiceAccount "default" and the ConfigMap
// "kube-root-ca.crt" with the cluster's CA certificate.
//
// In: Namespaces, ServiceAccounts and ConfigMaps from the informers, and the CA. Out: those two objects, made again when deleted and set right
// when changed. It never makes tokens and never touches any other object.
package serviceaccount
