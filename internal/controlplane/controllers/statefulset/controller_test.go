package statefulset_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claimprotection"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/garbagecollector"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/statefulset"
)

// cluster is an API server, the controller of StatefulSets, and nodes that do as the test says.
type cluster struct {
	*controllerstest.Env
	t *testing.T
}

func start(t *testing.T) *cluster {
	e := controllerstest.New(t)
	e.Start(t, statefulset.New(e.Client, e.Factory, e.Events).Run, claimprotection.New(e.Client, e.Factory).Run)
	return &cluster{Env: e, t: t}
}

func (c *cluster) create(name string, change func(*appsv1.StatefulSetSpec)) *appsv1.StatefulSet {
	c.t.Helper()
	labels := map[string]string{"app": name}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{
		ServiceName: name, Selector: &metav1.LabelSelector{MatchLabels: labels}, Replicas: ptr.To[int32](2),
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
		}},
	}}
	change(&set.Spec)
	set, err := c.Client.AppsV1().StatefulSets("default").Create(c.Ctx, set, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return set
}

func (c *cluster) patch(name string, spec any) {
	c.t.Helper()
	b, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Client.AppsV1().StatefulSets("default").Patch(c.Ctx, name, types.StrategicMergePatchType, b, metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func image(version string) any {
	return map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "example.com/c:" + version}}}}}
}

func (c *cluster) pods() map[string]corev1.Pod {
	c.t.Helper()
	list, err := c.Client.CoreV1().Pods("default").List(c.Ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]corev1.Pod{}
	for _, p := range list.Items {
		out[p.Name] = p
	}
	return out
}

// run makes ready every Pod that is not.
func (c *cluster) run() {
	c.t.Helper()
	for name, p := range c.pods() {
		if p.Status.Phase != corev1.PodRunning {
			c.report(name, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
		}
	}
}

func (c *cluster) report(pod, patch string) {
	c.t.Helper()
	_, err := c.Client.CoreV1().Pods("default").Patch(c.Ctx, pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		c.t.Fatal(err)
	}
}

// until runs the Pods until the StatefulSet is as wanted.
func (c *cluster) until(name, what string, ok func(*appsv1.StatefulSet) bool) *appsv1.StatefulSet {
	c.t.Helper()
	var set *appsv1.StatefulSet
	controllerstest.Eventually(c.t, what, func() bool {
		c.run()
		var err error
		set, err = c.Client.AppsV1().StatefulSets("default").Get(c.Ctx, name, metav1.GetOptions{})
		return err == nil && set.Status.ObservedGeneration == set.Generation && ok(set)
	})
	return set
}

// steady says that every Pod is there, ready and updated.
func steady(set *appsv1.StatefulSet) bool {
	n, s := *set.Spec.Replicas, set.Status
	return s.Replicas == n && s.ReadyReplicas == n && s.UpdatedReplicas == n && s.CurrentReplicas == n && s.AvailableReplicas == n && s.CurrentRevision == s.UpdateRevision
}

func (c *cluster) images() map[string]string {
	out := map[string]string{}
	for name, p := range c.pods() {
		_, version, _ := strings.Cut(p.Spec.Containers[0].Image, ":")
		out[name] = version
	}
	return out
}

func (c *cluster) revisions() []appsv1.ControllerRevision {
	c.t.Helper()
	list, err := c.Client.AppsV1().ControllerRevisions("default").List(c.Ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return list.Items
}

func TestPodsAreMadeInOrderWithTheirIdentityAndTold(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {})
	controllerstest.Eventually(t, "the first Pod", func() bool { return len(c.pods()) == 1 })
	c.until("db", "both run", steady)
	p := c.pods()["db-1"]
	got := []string{p.Spec.Hostname, p.Spec.Subdomain, p.Labels[appsv1.StatefulSetPodNameLabel], p.Labels[appsv1.PodIndexLabel], p.Labels[appsv1.StatefulSetRevisionLabel]}
	if diff := cmp.Diff([]string{"db-1", "db", "db-1", "1", c.revisions()[0].Name}, got); diff != "" {
		t.Errorf("the identity of the second (-want +got):\n%s", diff)
	}
	controllerstest.Eventually(t, "the Event", func() bool {
		list, err := c.Client.CoreV1().Events("default").List(c.Ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.Reason == "SuccessfulCreate" && e.Message == "Create Pod db-1 in StatefulSet db successful"
		})
	})
}

func TestKubectlShowsTheHistoryAndUndoesAnUpdate(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {})
	c.until("db", "version 1 runs", steady)
	c.patch("db", image("2"))
	c.until("db", "version 2 runs", steady)
	if diff := cmp.Diff(map[string]string{"db-0": "2", "db-1": "2"}, c.images()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	kind := appsv1.SchemeGroupVersion.WithKind("StatefulSet").GroupKind()
	viewer, err := polymorphichelpers.HistoryViewerFor(kind, c.Client)
	if err != nil {
		t.Fatal(err)
	}
	history, err := viewer.GetHistory("default", "db")
	if err != nil || len(history) != 2 {
		t.Errorf("the history is %v, %v", history, err)
	}
	if shown, err := viewer.ViewHistory("default", "db", 1); err != nil || !strings.Contains(shown, "example.com/c:1") {
		t.Errorf("revision 1 is shown as %s, %v", shown, err)
	}
	undo := func() string {
		t.Helper()
		r, err := polymorphichelpers.RollbackerFor(kind, c.Client)
		if err != nil {
			t.Fatal(err)
		}
		set, err := c.Client.AppsV1().StatefulSets("default").Get(c.Ctx, "db", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		said, err := r.Rollback(set, nil, 1, cmdutil.DryRunNone)
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	if said := undo(); said != "rolled back" {
		t.Errorf("undo says: %s", said)
	}
	c.until("db", "version 1 runs again", func(set *appsv1.StatefulSet) bool { return steady(set) && c.images()["db-0"] == "1" })
	var numbers []int64
	for _, r := range c.revisions() {
		numbers = append(numbers, r.Revision)
	}
	if diff := cmp.Diff([]int64{2, 3}, numbers); diff != "" {
		t.Errorf("numbers of revisions (-want +got):\n%s", diff)
	}
	viewer, _ = polymorphichelpers.HistoryViewerFor(kind, c.Client)
	if shown, err := viewer.ViewHistory("default", "db", 3); err != nil || !strings.Contains(shown, "example.com/c:1") {
		t.Errorf("revision 3 is shown as %s, %v", shown, err)
	}
}

func TestThePartitionKeepsTheFirstPodsAtTheCurrentRevisionAlsoWhenTheyAreLost(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {
		s.Replicas = ptr.To[int32](3)
		s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
	})
	c.until("db", "version 1 runs", steady)
	c.patch("db", image("2"))
	c.until("db", "the last is updated", func(set *appsv1.StatefulSet) bool {
		return set.Status.UpdatedReplicas == 1 && set.Status.ReadyReplicas == 3
	})
	was := c.pods()["db-0"].UID
	if err := c.Client.CoreV1().Pods("default").Delete(c.Ctx, "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("db", "the first is back", func(set *appsv1.StatefulSet) bool {
		p, ok := c.pods()["db-0"]
		return ok && p.UID != was && set.Status.ReadyReplicas == 3
	})
	if diff := cmp.Diff(map[string]string{"db-0": "1", "db-1": "1", "db-2": "2"}, c.images()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHistoryIsKeptUpToItsLimit(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {
		s.RevisionHistoryLimit, s.Replicas = ptr.To[int32](1), ptr.To[int32](1)
	})
	for i := range 4 {
		c.patch("db", image(fmt.Sprint(i)))
		c.until("db", "the version runs", func(set *appsv1.StatefulSet) bool { return steady(set) && c.images()["db-0"] == fmt.Sprint(i) })
	}
	controllerstest.Eventually(t, "two revisions are left", func() bool { return len(c.revisions()) == 2 })
}

func withClaims(whenScaled, whenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType) func(*appsv1.StatefulSetSpec) {
	return func(s *appsv1.StatefulSetSpec) {
		s.PodManagementPolicy = appsv1.ParallelPodManagement
		s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: whenScaled, WhenDeleted: whenDeleted}
		s.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}}
	}
}

// owners tells, by claim, the kind and name of its owner.
func (c *cluster) owners() map[string]string {
	c.t.Helper()
	list, err := c.Client.CoreV1().PersistentVolumeClaims("default").List(c.Ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]string{}
	for _, claim := range list.Items {
		out[claim.Name] = ""
		for _, ref := range claim.OwnerReferences {
			out[claim.Name] += ref.Kind + " " + ref.Name
		}
	}
	return out
}

func TestClaimsOutliveTheirPodsUnlessThePolicySaysOtherwise(t *testing.T) {
	c := start(t)
	c.create("db", withClaims(appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.RetainPersistentVolumeClaimRetentionPolicyType))
	c.until("db", "both run", steady)
	want := map[string]string{"data-db-0": "", "data-db-1": ""}
	if diff := cmp.Diff(want, c.owners()); diff != "" {
		t.Errorf("kept always (-want +got):\n%s", diff)
	}
	c.patch("db", map[string]any{"persistentVolumeClaimRetentionPolicy": map[string]any{"whenScaled": "Delete", "whenDeleted": "Delete"}})
	controllerstest.Eventually(t, "the claims belong to the StatefulSet", func() bool {
		return cmp.Equal(map[string]string{"data-db-0": "StatefulSet db", "data-db-1": "StatefulSet db"}, c.owners())
	})
	c.patch("db", map[string]any{"replicas": 1})
	c.until("db", "one runs", steady)
	if diff := cmp.Diff(map[string]string{"data-db-0": "StatefulSet db", "data-db-1": "Pod db-1"}, c.owners()); diff != "" {
		t.Errorf("shrunk (-want +got):\n%s", diff)
	}
	// No garbage collector runs here. Until the claim is gone, no Pod may take it up.
	c.patch("db", map[string]any{"replicas": 2})
	c.until("db", "the change is seen", func(*appsv1.StatefulSet) bool { return true })
	if n := len(c.pods()); n != 1 {
		t.Errorf("%d Pods, one of them with a claim that is about to be deleted", n)
	}
	if err := c.Client.CoreV1().PersistentVolumeClaims("default").Delete(c.Ctx, "data-db-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("db", "both run", steady)
}

func TestClaimsGoWithTheirPodOrWithTheStatefulSet(t *testing.T) {
	e := controllerstest.New(t)
	inv := inventory.New(e.Metadata, e.Discovery, e.Factory)
	e.Start(t, inv.Run, garbagecollector.New(e.Metadata, inv).Run, claimprotection.New(e.Client, e.Factory).Run, statefulset.New(e.Client, e.Factory, e.Events).Run)
	c := &cluster{Env: e, t: t}
	c.create("db", withClaims(appsv1.DeletePersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType))
	c.until("db", "both run", steady)
	uid := func(claim string) types.UID {
		got, err := c.Client.CoreV1().PersistentVolumeClaims("default").Get(c.Ctx, claim, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return got.UID
	}
	first, second := uid("data-db-0"), uid("data-db-1")
	c.patch("db", map[string]any{"replicas": 1})
	c.until("db", "one runs", steady)
	c.patch("db", map[string]any{"replicas": 2})
	c.until("db", "both run", steady)
	if got := uid("data-db-1"); got == second || got == "" {
		t.Error("the claim of the Pod that went is used again")
	}
	if got := uid("data-db-0"); got != first {
		t.Error("the claim of the Pod that stayed was replaced")
	}
	if err := c.Client.AppsV1().StatefulSets("default").Delete(c.Ctx, "db", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the claims and the Pods are gone", func() bool { return len(c.owners())+len(c.pods()) == 0 })
}

func TestPodsThatWereLeftBehindAreAdoptedByTheStatefulSetOfTheirName(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {})
	c.until("db", "both run", steady)
	was := c.pods()
	if err := c.Client.AppsV1().StatefulSets("default").Delete(c.Ctx, "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name := range was { // as the garbage collector orphans them
		if _, err := c.Client.CoreV1().Pods("default").Patch(c.Ctx, name, types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range c.revisions() {
		if _, err := c.Client.AppsV1().ControllerRevisions("default").Patch(c.Ctx, r.Name, types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stranger := was["db-0"]
	stranger.ObjectMeta = metav1.ObjectMeta{Name: "db-stranger", Labels: map[string]string{"app": "db"}}
	if _, err := c.Client.CoreV1().Pods("default").Create(c.Ctx, &stranger, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	set := c.create("db", func(s *appsv1.StatefulSetSpec) {})
	c.until("db", "both are its own", steady)
	for name, p := range c.pods() {
		if got, want := metav1.IsControlledBy(&p, set), name != "db-stranger"; got != want || want && p.UID != was[name].UID {
			t.Errorf("%s: adopted is %v; UID %s, was %s", name, got, p.UID, was[name].UID)
		}
	}
	if n := len(c.revisions()); n != 1 {
		t.Errorf("%d revisions, want the one that was left", n)
	}
}

func TestAPodThatEndsIsMadeAnew(t *testing.T) {
	c := start(t)
	c.create("db", func(s *appsv1.StatefulSetSpec) {})
	c.until("db", "both run", steady)
	was := c.pods()["db-0"].UID
	c.report("db-0", `{"status":{"phase":"Failed"}}`)
	controllerstest.Eventually(t, "another Pod", func() bool { p, ok := c.pods()["db-0"]; return ok && p.UID != was })
	c.until("db", "both run", steady)
}

func TestANameThatIsTakenIsToldAndTakenOnceItIsFree(t *testing.T) {
	c := start(t)
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0"}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{{Name: "c", Image: "example.com/other:1"}},
	}}
	if _, err := c.Client.CoreV1().Pods("default").Create(c.Ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.create("db", func(s *appsv1.StatefulSetSpec) {})
	controllerstest.Eventually(t, "the Event", func() bool {
		list, err := c.Client.CoreV1().Events("default").List(c.Ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return e.Reason == "FailedCreate" })
	})
	if err := c.Client.CoreV1().Pods("default").Delete(c.Ctx, "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("db", "both run", steady)
}
