package server_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// With more than two watchers the storage gives all of them one object of a type of its own; an informer must not come to hold that.
func TestAnInformerOfThisProcessIsToldWhatOthersWriteHoweverManyWatch(t *testing.T) {
	c := servertest.Start(t)
	k := kubernetes.NewForConfigOrDie(c.System)
	maps := k.CoreV1().ConfigMaps("n")
	if _, err := k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	told := make(chan string, 10)
	tell := func(what string, obj any) {
		m, ok := obj.(*corev1.ConfigMap)
		if !ok {
			t.Errorf("%s: a %T", what, obj)
			return
		}
		if m.ManagedFields != nil {
			t.Errorf("%s %s: it has managed fields, which take more memory than the rest", what, m.Name)
		}
		if m.Namespace == "n" {
			told <- what + " " + m.Name + " " + m.Data["a"]
		}
	}
	f := c.Server.Informers()
	inf := f.Core().V1().ConfigMaps().Informer()
	if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { tell("added", obj) }, UpdateFunc: func(_, obj any) { tell("changed", obj) }, DeleteFunc: func(obj any) { tell("deleted", obj) },
	}); err != nil {
		t.Fatal(err)
	}
	// Events of events.k8s.io are stored as others: such a kind is listed as clients do it.
	events := f.Events().V1().Events().Informer()
	f.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), inf.HasSynced, events.HasSynced) {
		t.Fatal("the informers did not come to know what there is")
	}
	m, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Data["a"] = "2"
	if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "after", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want, got := []string{"added before ", "added after 1", "changed after 2", "deleted after 2"}, []string{}
	for range want {
		select {
		case e := <-told:
			got = append(got, e)
		case <-time.After(20 * time.Second):
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
