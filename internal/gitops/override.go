package gitops

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// Where says where in Git an Application's object, or a field of it, is set; file is empty when no commit of it has been read yet.
func (e *Engine) Where(namespace, application string, ref v1alpha1.ObjectRef, field string) (file string, line int) {
	e.mu.Lock()
	m, ok := e.memories[reconcile.Key{Namespace: namespace, Name: application}]
	e.mu.Unlock()
	if !ok {
		return "", 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.applied == nil {
		return "", 0
	}
	o, ok := m.applied.byKey[diff.KeyOf(ref)]
	switch {
	case !ok:
		return "", 0
	case field == "":
		return o.Source.Origin.File, o.Source.Origin.Line
	}
	return o.Place(field)
}

// announceOverrides records an Event, on the Application and on the object, for each override that begins or ends to keep an object from being as Git says.
func (p *pass) announceOverrides(before []v1alpha1.FieldDrift) {
	was, is := overridden(before), overridden(p.app.Status.Drift)
	tell := func(d v1alpha1.FieldDrift, kind, reason, message string) {
		p.event(p.app, kind, reason, message)
		p.events.Event(&corev1.ObjectReference{
			APIVersion: strings.TrimPrefix(d.Group+"/"+d.Version, "/"), Kind: d.Kind, Namespace: d.Namespace, Name: d.Name,
		}, kind, reason, clip(message, maxEventMessage))
	}
	for k, d := range is {
		if old, had := was[k]; !had || old.Override.Reason != d.Override.Reason {
			by := ""
			if d.Override.User != "" {
				by = " by " + d.Override.User
			}
			tell(d, corev1.EventTypeWarning, "Overridden", fmt.Sprintf("%s differs from Git and stays so, overridden%s: %s", k, by, d.Override.Reason))
		}
	}
	for k, d := range was {
		if _, still := is[k]; !still {
			tell(d, corev1.EventTypeNormal, "OverrideEnded", fmt.Sprintf("%s is no longer kept from being as Git says", k))
		}
	}
}

// overridden is the first field of each object that an override keeps as it is.
func overridden(drift []v1alpha1.FieldDrift) map[diff.Key]v1alpha1.FieldDrift {
	out := map[diff.Key]v1alpha1.FieldDrift{}
	for _, d := range drift {
		if _, seen := out[diff.KeyOf(d.ObjectRef)]; d.Override != nil && !seen {
			out[diff.KeyOf(d.ObjectRef)] = d
		}
	}
	return out
}
