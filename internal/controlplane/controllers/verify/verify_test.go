package verify

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
)

const name = "web-1"

var owner = &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web"}}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: "uid-1", ResourceVersion: "7", OwnerReferences: []metav1.OwnerReference{{UID: owner.UID, Controller: ptr.To(true)}},
	}}
	change(p)
	return p
}

func asIs(*corev1.Pod)      {}
func orphan(p *corev1.Pod)  { p.OwnerReferences = nil }
func another(p *corev1.Pod) { p.UID = "uid-2" }
func going(p *corev1.Pod) {
	p.DeletionTimestamp, p.Finalizers = &metav1.Time{}, []string{"example.com/wait"}
}

// api has the Pod, or is away if there is none to say anything of.
func api(there *corev1.Pod, away bool) typedv1.PodInterface {
	client := fake.NewClientset()
	client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		switch {
		case away:
			return true, nil, errors.New("no answer")
		case there != nil:
			return true, there, nil
		}
		return false, nil, nil
	})
	return client.CoreV1().Pods("default")
}

func TestACreateWhoseAnswerWasLostIsFoundOrNot(t *testing.T) {
	for what, c := range map[string]struct {
		there            *corev1.Pod
		away             bool
		own              bool
		creating, unsure int
	}{
		"it happened":                    {there: pod(asIs), own: true, creating: 1},
		"it did not":                     {},
		"the name is somebody else's":    {there: pod(orphan)},
		"the API server does not answer": {away: true, creating: 1, unsure: 1},
	} {
		t.Run(what, func(t *testing.T) {
			var l ledger.Ledger
			l.Creating(owner.UID, name)
			own, err := Created(context.Background(), api(c.there, c.away), &l, owner, name)
			if c.away != (err != nil) || err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("error %v", err)
			}
			open := l.Look(owner.UID, "1", func(string) (metav1.Object, bool) { return nil, false })
			if own != c.own || open.Creating != c.creating || len(open.Recreate) != c.unsure {
				t.Errorf("own %v, being created %d, unsure %v; want %v, %d, %d", own, open.Creating, open.Recreate, c.own, c.creating, c.unsure)
			}
		})
	}
}

func TestADeleteWhoseAnswerWasLostIsFoundOrNot(t *testing.T) {
	for what, c := range map[string]struct {
		there            *corev1.Pod
		away             bool
		deleting, unsure int // of what the cache still shows
	}{
		"it did not happen":              {there: pod(asIs)},
		"the Pod is going":               {there: pod(going), deleting: 1},
		"the Pod is gone":                {deleting: 1},
		"another has its name":           {there: pod(another), deleting: 1},
		"the API server does not answer": {away: true, deleting: 1, unsure: 1},
	} {
		t.Run(what, func(t *testing.T) {
			var l ledger.Ledger
			d := ledger.Deletion{Name: name, UID: "uid-1"}
			l.Deleting(owner.UID, d)
			err := Deleted(context.Background(), api(c.there, c.away), &l, owner.UID, d)
			if c.away != (err != nil) || err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("error %v", err)
			}
			open := l.Look(owner.UID, "7", func(string) (metav1.Object, bool) { return pod(asIs), true })
			if open.Deleting.Len() != c.deleting || len(open.Redelete) != c.unsure {
				t.Errorf("being deleted %v, unsure %v; want %d, %d", open.Deleting.UnsortedList(), open.Redelete, c.deleting, c.unsure)
			}
		})
	}
}
