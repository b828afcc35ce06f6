package registry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func clientOf(t *testing.T) kubernetes.Interface {
	t.Helper()
	k, err := kubernetes.NewForConfig(servertest.Start(t).System)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAnEventIsOneObjectInBothOfItsGroups(t *testing.T) {
	k := clientOf(t)
	ctx := t.Context()
	if _, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	watch, err := k.EventsV1().Events("shop").Watch(ctx, metav1.ListOptions{FieldSelector: "regarding.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	old := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "shop"}, Reason: "Pulled", Message: "image pulled", Type: "Normal", Count: 2,
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web"}, Source: corev1.EventSource{Component: "kubelet"},
	}
	if _, err := k.CoreV1().Events("shop").Create(ctx, old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-watch.ResultChan():
		seen, ok := e.Object.(*eventsv1.Event)
		if !ok || seen.Note != "image pulled" || seen.DeprecatedCount != 2 || seen.Regarding.Name != "web" {
			t.Errorf("the watch in events.k8s.io shows %s %v", e.Type, e.Object)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the watch in events.k8s.io does not show what was written in core/v1")
	}
	now := metav1.NewMicroTime(time.Now().Truncate(time.Second))
	written := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "shop"}, EventTime: now, ReportingController: "gitopsd.io/test", ReportingInstance: "one",
		Action: "Testing", Reason: "Tested", Type: "Warning", Note: "a note", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "api"},
	}
	if _, err := k.EventsV1().Events("shop").Create(ctx, written, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	read, err := k.CoreV1().Events("shop").Get(ctx, "b", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a note", "api", "gitopsd.io/test", "Testing"}, []string{read.Message, read.InvolvedObject.Name, read.ReportingController, read.Action}); diff != "" {
		t.Errorf("read in core/v1 (-written in events.k8s.io +read):\n%s", diff)
	}
	if _, err := k.EventsV1().Events("shop").Patch(ctx, "b", types.MergePatchType, []byte(`{"note":"another"}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("changing the note in events.k8s.io: %v, want that it is immutable", err)
	}
	if _, err := k.CoreV1().Events("shop").Patch(ctx, "b", types.MergePatchType, []byte(`{"message":"another"}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("changing the message in core/v1: %v", err)
	}
	list, err := k.EventsV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "reportingController=gitopsd.io/test"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Note != "another" {
		t.Errorf("listed by reporting controller: %v, %v", list, err)
	}
	if err := k.EventsV1().Events("shop").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if left, err := k.CoreV1().Events("shop").List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 0 {
		t.Errorf("after all Events of events.k8s.io were deleted, core/v1 has %v, %v", left, err)
	}
}
