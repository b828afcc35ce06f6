package translate

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

const (
	// Controller is what IngressClasses say whose Ingresses nodes serve.
	Controller = "gitopsd.io/ingress"
	// ClassName is that of the IngressClass which the control plane makes.
	ClassName = "gitopsd"
	// AnnotationClass is how an Ingress named its class before the API had a field for it.
	AnnotationClass = "kubernetes.io/ingress.class"
)

// Classes are the IngressClasses there are.
type Classes []*networkingv1.IngressClass

// Of returns the name of the class that the Ingress is of, empty when it is of none.
func (c Classes) Of(ing *networkingv1.Ingress) string {
	if n := ing.Spec.IngressClassName; n != nil {
		return *n
	}
	if n := ing.Annotations[AnnotationClass]; n != "" {
		return n
	}
	// The newest default, as the API server takes it when an Ingress is created.
	var best *networkingv1.IngressClass
	for _, class := range c {
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&class.CreationTimestamp) || best.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < best.Name {
			best = class
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}

// Ours says whether nodes serve the Ingress.
func (c Classes) Ours(ing *networkingv1.Ingress) bool {
	name := c.Of(ing)
	for _, class := range c {
		if class.Name == name {
			return class.Spec.Controller == Controller
		}
	}
	return false
}

// Secrets names those of its own namespace that the Ingress needs, each once.
func Secrets(ing *networkingv1.Ingress) []string {
	var out []string
	seen := map[string]bool{"": true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for i := range ing.Spec.TLS {
		add(ing.Spec.TLS[i].SecretName)
	}
	if name, err := authSecret(ing); err == nil {
		add(name)
	}
	return out
}

// Secret is what is known of one.
type Secret struct {
	// Object is nil while there is none.
	Object *corev1.Secret
	// Unread says why it is not known whether there is one.
	Unread string
}

// Services names those of its own namespace that the Ingress leads to.
func Services(ing *networkingv1.Ingress) []string {
	var out []string
	add := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			out = append(out, b.Service.Name)
		}
	}
	add(ing.Spec.DefaultBackend)
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				add(&http.Paths[j].Backend)
			}
		}
	}
	return out
}
