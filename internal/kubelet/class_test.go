package kubelet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAPodRunsByItsRuntimeClassAndItsGroupHasTheOverhead(t *testing.T) {
	h := start(t)
	for _, c := range []nodev1.RuntimeClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Handler: "runc", Overhead: &nodev1.Overhead{PodFixed: v1.ResourceList{v1.ResourceMemory: resource.MustParse("32Mi"), v1.ResourceCPU: resource.MustParse("100m")}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "odd"}, Handler: "not-here"},
	} {
		if _, err := h.client.NodeV1().RuntimeClasses().Create(h.ctx(), &c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var p *v1.Pod
	h.eventually("the class to be known to admission", func() (bool, string) { return h.admitted("p", "plain", &p) })
	h.wait("p", "to be ready", ready)
	want, found := "100663296\n", false // 64 Mi for the container and 32 on top
	for _, file := range []string{"/sys/fs/cgroup/memory" + h.cgroup() + "/pod" + string(p.UID) + "/memory.limit_in_bytes", "/sys/fs/cgroup" + h.cgroup() + "/pod" + string(p.UID) + "/memory.max"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		found = true
		if string(b) != want {
			t.Errorf("%s is %q, want %q", filepath.Base(file), b, want)
		}
	}
	if !found {
		t.Error("the Pod's control group has no memory limit at all")
	}
	h.eventually("the class to be known to admission", func() (bool, string) { return h.admitted("q", "odd", &p) })
	if e := h.event("q", "FailedCreatePodSandBox"); !strings.Contains(e.Message, `RuntimeClass odd: no runtime for "not-here" is configured`) {
		t.Errorf("the event says: %s", e.Message)
	}
	h.delete("q")
	h.waitGone("q")
}

// admitted creates a Pod of a RuntimeClass.
func (h *host) admitted(name, class string, made **v1.Pod) (bool, string) {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: v1.PodSpec{RuntimeClassName: &class, Containers: []v1.Container{{
		Name: "c", Image: testImage, Command: []string{"sleep", "1000"}, Resources: v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceMemory: resource.MustParse("64Mi")}},
	}}}}
	var err error
	if *made, err = h.client.CoreV1().Pods("default").Create(h.ctx(), p, metav1.CreateOptions{}); err != nil {
		return false, err.Error()
	}
	return true, ""
}
