package serviceaccount

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names and key that clients rely on: the Pod's projected token volume mounts the ConfigMap by name.
const (
	accountName = "default"
	rootCAName  = "kube-root-ca.crt"
	rootCAKey   = "ca.crt"
	// annotationDescription is shown by kubectl describe.
	annotationDescription = "kubernetes.io/description"
	description           = "Contains a CA bundle that can be used to verify the API server of this cluster."
)

// Observed is what one Namespace has; nil is for what it has not.
type Observed struct {
	Namespace *corev1.Namespace
	Account   *corev1.ServiceAccount
	RootCA    *corev1.ConfigMap
	CA        string // PEM
}

// Actions is what is to be written.
type Actions struct {
	CreateAccount *corev1.ServiceAccount
	CreateRootCA  *corev1.ConfigMap
	UpdateRootCA  *corev1.ConfigMap
}

// Decide makes up for what is missing or wrong. A Namespace on its way out gets nothing.
func Decide(o Observed) Actions {
	var a Actions
	if o.Namespace == nil || o.Namespace.DeletionTimestamp != nil || o.Namespace.Status.Phase == corev1.NamespaceTerminating {
		return a
	}
	ns := o.Namespace.Name
	if o.Account == nil {
		a.CreateAccount = &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: accountName}}
	}
	switch {
	case o.RootCA == nil:
		a.CreateRootCA = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: rootCAName, Annotations: map[string]string{annotationDescription: description}},
			Data:       map[string]string{rootCAKey: o.CA},
		}
	case len(o.RootCA.Data) != 1 || len(o.RootCA.BinaryData) != 0 || o.RootCA.Data[rootCAKey] != o.CA:
		a.UpdateRootCA = o.RootCA.DeepCopy()
		a.UpdateRootCA.Data, a.UpdateRootCA.BinaryData = map[string]string{rootCAKey: o.CA}, nil
	}
	return a
}
