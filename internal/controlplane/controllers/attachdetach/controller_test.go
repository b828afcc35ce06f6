package attachdetach_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/attachdetach"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// share makes an NFS volume that one node may write to, bound to the claim "data".
func share(t *testing.T, e *controllerstest.Env) *corev1.PersistentVolume {
	t.Helper()
	size, once := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim, err := e.Client.CoreV1().PersistentVolumeClaims("default").Create(e.Ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Annotations: map[string]string{volume.AnnBindCompleted: "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: once, Resources: corev1.VolumeResourceRequirements{Requests: size}, VolumeName: "share", StorageClassName: ptr.To("")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.Client.CoreV1().PersistentVolumes().Create(e.Ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "share"}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: once, Capacity: size, PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/p"}},
		ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: "data", UID: claim.UID},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAVolumeIsHandedOverAndNeverAtTwoNodes(t *testing.T) {
	e := controllerstest.New(t)
	v := share(t, e)
	name := pv.UniqueName(v)
	for _, n := range []string{"a", "b"} {
		e.Node(t, n, "1", "1Gi")
	}
	nodes, pods := e.Client.CoreV1().Nodes(), e.Client.CoreV1().Pods("default")
	watch, err := nodes.Watch(e.Ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	e.Start(t, attachdetach.New(e.Client, e.Factory, e.Events).Run)

	get := func(node string) *corev1.Node {
		n, err := nodes.Get(e.Ctx, node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	listed := func(n *corev1.Node) bool {
		return slices.ContainsFunc(n.Status.VolumesAttached, func(a corev1.AttachedVolume) bool { return a.Name == name })
	}
	// use is the node's part.
	use := func(node string, yes bool) {
		t.Helper()
		in := []corev1.UniqueVolumeName{}
		if yes {
			in = append(in, name)
		}
		body, err := json.Marshal(map[string]any{"status": map[string]any{"volumesInUse": in}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nodes.Patch(e.Ctx, node, types.MergePatchType, body, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 6
	for i := range rounds {
		here, there := []string{"a", "b"}[i%2], []string{"b", "a"}[i%2]
		pod := fmt.Sprintf("p%d", i)
		if _, err := pods.Create(e.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: corev1.PodSpec{
			NodeName: here, Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
		}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			controllerstest.Eventually(t, "the node before is told to give it up", func() bool { return !listed(get(there)) })
			if listed(get(here)) {
				t.Fatalf("round %d: %s has it though %s still uses it", i, here, there)
			}
			use(there, false)
		}
		controllerstest.Eventually(t, "the Pod's node has it", func() bool { return listed(get(here)) })
		use(here, true)
		if err := pods.Delete(e.Ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Fatal(err)
		}
	}
	// All that happened, in order.
	has, writes := map[string]bool{}, 0
	last := get([]string{"a", "b"}[(rounds-1)%2])
	controllerstest.Eventually(t, "it to be taken from the last one too", func() bool { last = get(last.Name); return !listed(last) })
	for ev := range watch.ResultChan() {
		n, ok := ev.Object.(*corev1.Node)
		if !ok {
			t.Fatalf("%+v", ev)
		}
		has[n.Name] = listed(n) || slices.Contains(n.Status.VolumesInUse, name)
		if has["a"] && has["b"] {
			t.Fatalf("both nodes have it at version %s", n.ResourceVersion)
		}
		if writes++; n.ResourceVersion == last.ResourceVersion {
			break
		}
	}
	if writes < 4*rounds {
		t.Errorf("the history has %d writes only", writes)
	}
}

func TestALostNodeKeepsItsVolumeUntilItIsSaidToBeOff(t *testing.T) {
	e := controllerstest.New(t)
	v := share(t, e)
	name := pv.UniqueName(v)
	for _, node := range []string{"lost", "other"} {
		e.Node(t, node, "1", "1Gi")
	}
	nodes := e.Client.CoreV1().Nodes()
	lost := []byte(fmt.Sprintf(`{"status":{"volumesInUse":[%q],"volumesAttached":[{"name":%q,"devicePath":""}],"conditions":[{"type":"Ready","status":"Unknown"}]}}`, name, name))
	if _, err := nodes.Patch(e.Ctx, "lost", types.StrategicMergePatchType, lost, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		NodeName: "other", Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Start(t, attachdetach.New(e.Client, e.Factory, e.Events).Run)
	attached := func(node string) int {
		n, err := nodes.Get(e.Ctx, node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(n.Status.VolumesAttached)
	}
	controllerstest.Eventually(t, "the Pod is told what to do", func() bool {
		list, err := e.Client.CoreV1().Events("default").List(e.Ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.Reason == "FailedAttachVolume" && e.InvolvedObject.Name == "p"
		})
	})
	if attached("other") != 0 {
		t.Fatal("another node has the volume of a node that may still write to it")
	}
	taint := []byte(`{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}]}}`)
	if _, err := nodes.Patch(e.Ctx, "lost", types.MergePatchType, taint, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the other node has it", func() bool { return attached("other") == 1 && attached("lost") == 0 })
}
