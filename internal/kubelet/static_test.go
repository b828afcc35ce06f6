package kubelet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func TestStaticPodsRunFromAFolder(t *testing.T) {
	h := prepare(t)
	dir := filepath.Join(h.dir, "manifests")
	h.flags = append(h.flags, "--pod-manifest-path", dir)
	manifest := func(name, says string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: %s\n    command: [sh, -c, 'echo %s; exec sleep 1000']\n",
			name, name, testImage, says)
	}
	put := func(file, text string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	says := func(want string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool {
			return ready(p) && strings.Contains(p.Spec.Containers[0].Command[2], "echo "+want+";")
		}
	}
	put("a.yaml", manifest("a", "one"))
	put("b.yaml", manifest("b", "other"))
	h.startNode()
	var first *v1.Pod

	h.run("and the API shows them", func(t *testing.T) {
		first = h.wait("a-n1", "to be ready", says("one"))
		for _, key := range []string{"kubernetes.io/config.hash", "kubernetes.io/config.seen", "kubernetes.io/config.mirror"} {
			if first.Annotations[key] == "" {
				t.Errorf("the mirror lacks the annotation %s: %v", key, first.Annotations)
			}
		}
		if got := first.Annotations["kubernetes.io/config.source"]; got != "file" {
			t.Errorf("its source is %q", got)
		}
		if o := first.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].Name != "n1" {
			t.Errorf("its owners are %v", o)
		}
		if out := h.logs("a-n1", v1.PodLogOptions{}); out != "one\n" {
			t.Errorf("its log is %q", out)
		}
		if out := h.exec("a-n1", "echo", "hello"); out != "hello\n" {
			t.Errorf("exec gives %q", out)
		}
	})

	h.run("a mirror that is deleted comes back, and nothing else happens", func(t *testing.T) {
		h.delete("a-n1")
		again := h.wait("a-n1", "to be shown again", func(p *v1.Pod) bool { return p.UID != first.UID && ready(p) })
		if was, is := first.Status.ContainerStatuses[0].ContainerID, again.Status.ContainerStatuses[0].ContainerID; was != is {
			t.Errorf("its container was %s and is %s", was, is)
		}
		first = again
	})

	h.run("a changed file is another Pod, and others are left alone", func(t *testing.T) {
		other := h.wait("b-n1", "to be ready", ready)
		put("a.yaml", manifest("a", "two"))
		h.wait("a-n1", "to say something else", says("two"))
		if now := h.get("b-n1"); now.UID != other.UID || now.Status.ContainerStatuses[0].ContainerID != other.Status.ContainerStatuses[0].ContainerID {
			t.Error("the other Pod is another too")
		}
	})

	h.run("a broken file is told with its line and ends nothing", func(t *testing.T) {
		before := h.get("a-n1")
		put("a.yaml", manifest("a", "three")+"    imagePolicy: x\n")
		h.eventually("an event about it", func() (bool, string) {
			list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("reason", "InvalidStaticPod").String()})
			if err != nil || len(list.Items) == 0 {
				return false, fmt.Sprint(err)
			}
			m := list.Items[0].Message
			return strings.Contains(m, filepath.Join(dir, "a.yaml")+`:10: unknown field "spec.containers[0].imagePolicy"`), m
		})
		if now := h.get("a-n1"); now.UID != before.UID || now.DeletionTimestamp != nil {
			t.Error("the Pod was touched")
		}
		h.killNode()
		h.startNode()
		h.eventually("the daemon to serve again", func() (bool, string) {
			out, err := h.tryExec("a-n1", "true")
			return err == nil, fmt.Sprint(out, err)
		})
		if now := h.get("a-n1"); now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
			t.Error("a restart of the daemon ended the Pod whose file is broken")
		}
	})

	h.run("what the API would not have runs, and it is told why not", func(t *testing.T) {
		put("refused.yaml", strings.Replace(manifest("refused", "here"), "    image:", "    terminationMessagePolicy: Never\n    image:", 1))
		h.eventually("an event about it", func() (bool, string) {
			list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("reason", "StaticPodRefused").String()})
			if err != nil || len(list.Items) == 0 {
				return false, fmt.Sprint(err)
			}
			m := list.Items[0].Message
			return strings.Contains(m, "refused.yaml:8: spec.containers[0].terminationMessagePolicy"), m
		})
		if err := os.Remove(filepath.Join(dir, "refused.yaml")); err != nil {
			t.Fatal(err)
		}
	})

	h.run("they need no control plane", func(t *testing.T) {
		h.stopAPI()
		h.killNode()
		put("a.yaml", manifest("a", "four"))
		put("c.yaml", manifest("c", "new"))
		if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
			t.Fatal(err)
		}
		h.startNode()
		logs := func(name string) string {
			files, _ := filepath.Glob(filepath.Join(h.dir, "logs", "default_"+name+"-n1_*", "c", "*.log"))
			var out string
			for _, f := range files {
				b, _ := os.ReadFile(f)
				out += string(b)
			}
			return out
		}
		h.eventually("the Pods to run that the folder holds", func() (bool, string) {
			a, b, c := logs("a"), logs("b"), logs("c")
			return strings.Contains(a, "four") && !strings.Contains(a, "two") && b == "" && strings.Contains(c, "new"), a + b + c
		})
		h.startAPI()
		h.wait("a-n1", "to be shown", says("four"))
		h.wait("c-n1", "to be shown", says("new"))
		h.waitGone("b-n1")
	})

	h.run("a file that is removed ends its Pod", func(t *testing.T) {
		for _, f := range []string{"a.yaml", "c.yaml"} {
			if err := os.Remove(filepath.Join(dir, f)); err != nil {
				t.Fatal(err)
			}
		}
		h.waitGone("a-n1")
		h.waitGone("c-n1")
		h.eventually("nothing to be left of them", func() (bool, string) {
			left, _ := filepath.Glob(filepath.Join(h.dir, "n", "pods", "*"))
			return len(left) == 0, fmt.Sprint(left)
		})
	})
}

func TestAStaticPodThatWasTurnedAwayRunsOnceThereIsRoom(t *testing.T) {
	h := prepare(t)
	dir := filepath.Join(h.dir, "manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.flags = append(h.flags, "--pod-manifest-path", dir)
	h.startNode()
	h.create("first", `{nodeName: n1, containers: [{name: c, command: [sleep, "1000"], ports: [{containerPort: 80, hostPort: 8099}]}]}`)
	h.wait("first", "to be ready", ready)
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: second}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: c, image: " + testImage + ", command: [sleep, '1000'], ports: [{containerPort: 80, hostPort: 8099}]}\n"
	if err := os.WriteFile(filepath.Join(dir, "second.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := h.wait("second-n1", "to be turned away", phase(v1.PodFailed)); p.Status.Reason != "NodePorts" {
		t.Errorf("its status says %s: %s", p.Status.Reason, p.Status.Message)
	}
	h.delete("first")
	h.wait("second-n1", "to be ready", ready)
}
