package why_test

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

func TestTheAnswerIsAboutTheClusterAsTheAPIServerHasIt(t *testing.T) {
	e := controllerstest.New(t)
	e.Node(t, "n1", "1", "1Gi")
	create := func(name, cpu, node string) *corev1.Pod {
		p, err := e.Client.CoreV1().Pods("default").Create(e.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			}}},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	there := create("there", "600m", "n1")
	waits := create("waits", "600m", "")
	for _, c := range []struct {
		pod  *corev1.Pod
		want []string
	}{
		{waits, []string{"Pod default/waits has no node", "n1  NodeResourcesFit: Insufficient cpu", "a request of 400m instead of 600m would fit", "without default/there it would fit"}},
		{there, []string{"Pod default/there is on n1.", "points  <- here"}},
	} {
		w, err := why.Load(e.Ctx, e.Client)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := why.Write(&b, why.Ask(c.pod, w, profile.Default()), false); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not said about Pod %s:\n%s", want, c.pod.Name, b.String())
			}
		}
	}
}
