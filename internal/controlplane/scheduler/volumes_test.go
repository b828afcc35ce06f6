package scheduler_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

var gibibyte = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}

func storageClass(t testing.TB, e *controllerstest.Env, name, provisioner string) {
	t.Helper()
	if _, err := e.Client.StorageV1().StorageClasses().Create(e.Ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func persistentVolume(t testing.TB, e *controllerstest.Env, name, class, node string) {
	t.Helper()
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: gibibyte, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}},
	}}
	v, err := e.Client.CoreV1().PersistentVolumes().Create(e.Ctx, v, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v.Status.Phase = corev1.VolumeAvailable
	if _, err := e.Client.CoreV1().PersistentVolumes().UpdateStatus(e.Ctx, v, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func claim(t testing.TB, e *controllerstest.Env, name, class string) {
	t.Helper()
	if _, err := e.Client.CoreV1().PersistentVolumeClaims("default").Create(e.Ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: gibibyte},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func mounts(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}}}
	}
}

// bindClaim does what the controller of PersistentVolumes does.
func bindClaim(t testing.TB, e *controllerstest.Env, name, pv string) {
	t.Helper()
	c := getClaim(t, e, name)
	c.Spec.VolumeName = pv
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBindCompleted, "yes")
	if _, err := e.Client.CoreV1().PersistentVolumeClaims("default").Update(e.Ctx, c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func getClaim(t testing.TB, e *controllerstest.Env, name string) *corev1.PersistentVolumeClaim {
	t.Helper()
	c, err := e.Client.CoreV1().PersistentVolumeClaims("default").Get(e.Ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPodWhoseClaimWaitsForItIsBoundOnceTheVolumeIs(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "1", "1Gi")
	e.Node(t, "n2", "1", "1Gi")
	storageClass(t, e, "local", "kubernetes.io/no-provisioner")
	claim(t, e, "data", "local")
	create(t, e, "web", "100m", mounts("data"))
	want := "False Unschedulable: 0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
	controllerstest.Eventually(t, "it waits for a volume", func() bool { return says(get(t, e, "web")) == want })
	persistentVolume(t, e, "pv", "local", "n2")
	controllerstest.Eventually(t, "the volume is claimed", func() bool {
		v, err := e.Client.CoreV1().PersistentVolumes().Get(e.Ctx, "pv", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Name == "data"
	})
	if n := get(t, e, "web").Spec.NodeName; n != "" {
		t.Errorf("the Pod is bound to %s before its volume is", n)
	}
	bindClaim(t, e, "data", "pv")
	controllerstest.Eventually(t, "the Pod is bound where the volume is", func() bool { return get(t, e, "web").Spec.NodeName == "n2" })
}

func TestANodeIsChosenForAVolumeThatIsToBeMadeAndAnotherWhereThatFails(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "1", "1Gi")
	storageClass(t, e, "made", "csi.example.com")
	claim(t, e, "data", "made")
	create(t, e, "web", "100m", mounts("data"))
	controllerstest.Eventually(t, "a node is chosen", func() bool { return getClaim(t, e, "data").Annotations[volume.AnnSelectedNode] == "n1" })
	// The node gets full, as far as volumes go, and another one comes.
	n, err := e.Client.CoreV1().Nodes().Get(e.Ctx, "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Spec.Unschedulable = true
	if _, err := e.Client.CoreV1().Nodes().Update(e.Ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Node(t, "n2", "1", "1Gi")
	c := getClaim(t, e, "data")
	delete(c.Annotations, volume.AnnSelectedNode)
	if _, err := e.Client.CoreV1().PersistentVolumeClaims("default").Update(e.Ctx, c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "another node is chosen", func() bool { return getClaim(t, e, "data").Annotations[volume.AnnSelectedNode] == "n2" })
	persistentVolume(t, e, "pv-made", "made", "n2")
	bindClaim(t, e, "data", "pv-made")
	controllerstest.Eventually(t, "the Pod is bound there", func() bool { return get(t, e, "web").Spec.NodeName == "n2" })
}

func TestAPodIsNotBoundToANodeThatItsVolumeCannotBeReachedFrom(t *testing.T) {
	e := controllerstest.New(t)
	s := scheduler.New(e.Client, e.Factory, e.Events, profile.Default())
	e.Start(t, s.Run)
	e.Node(t, "n1", "1", "1Gi")
	storageClass(t, e, "made", "csi.example.com")
	claim(t, e, "data", "made")
	create(t, e, "web", "100m", mounts("data"))
	controllerstest.Eventually(t, "a node is chosen", func() bool { return getClaim(t, e, "data").Annotations[volume.AnnSelectedNode] == "n1" })
	// Meanwhile the node comes that has had the claim's data all along.
	e.Node(t, "n2", "1", "1Gi")
	persistentVolume(t, e, "pv", "made", "n2")
	bindClaim(t, e, "data", "pv")
	controllerstest.Eventually(t, "the Pod is bound", func() bool { return get(t, e, "web").Spec.NodeName != "" })
	if n := get(t, e, "web").Spec.NodeName; n != "n2" {
		t.Errorf("the Pod is bound to %s, from which its volume cannot be reached", n)
	}
}
