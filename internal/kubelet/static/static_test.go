package static

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var seen = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestManifests reads the manifests in testdata/manifests and prints the Pods, or what is wrong with them.
func TestManifests(t *testing.T) {
	datadriven.RunTest(t, "testdata/manifests", func(t *testing.T, d *datadriven.TestData) string {
		text := strings.ReplaceAll(d.Input, "\\t", "\t")
		m, err := Parse("web.yaml", []byte(text), "n1", seen)
		if err != nil {
			return err.Error() + "\n"
		}
		p := m.Pod
		var b strings.Builder
		fmt.Fprintf(&b, "%s/%s on %s, restarts %s\n", p.Namespace, p.Name, p.Spec.NodeName, p.Spec.RestartPolicy)
		for _, c := range p.Spec.Containers {
			fmt.Fprintf(&b, "  %s: %s, pulled %s, line %d\n", c.Name, c.Image, c.ImagePullPolicy, m.Line("spec.containers[0].image"))
		}
		if p.Spec.Priority != nil {
			fmt.Fprintf(&b, "  priority %d\n", *p.Spec.Priority)
		}
		if !IsUID(p.UID) || p.Annotations[HashAnnotation] != string(p.UID) || p.Annotations[SourceAnnotation] != "file" || p.Annotations[FileAnnotation] != "web.yaml" {
			t.Errorf("UID %s, annotations %v", p.UID, p.Annotations)
		}
		return b.String()
	})
}

func TestAFolderThatIsEditedBadlyEndsNothing(t *testing.T) {
	dir := t.TempDir()
	f := &Folder{Path: dir, Node: "n1"}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(name, image string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: %s}]}\n", name, image)
	}
	read := func() string {
		pods, kept, bad := f.Read(seen)
		var b strings.Builder
		for _, m := range pods {
			fmt.Fprintf(&b, "%s %s; ", m.Pod.Name, m.Pod.Spec.Containers[0].Image)
		}
		for file := range kept {
			fmt.Fprintf(&b, "kept %s; ", filepath.Base(file))
		}
		for _, err := range bad {
			b.WriteString(strings.ReplaceAll(err.Error(), dir+"/", "") + "; ")
		}
		return strings.TrimSuffix(b.String(), "; ")
	}
	want := func(step, want string) {
		t.Helper()
		if got := read(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", step, got, want)
		}
	}
	put("a.yaml", pod("a", "i:1"))
	put("b.yaml", "kind: [")
	put(".hidden", "x")
	put("b.yaml~", "x")
	want("one is good, one was broken from the beginning", "a-n1 i:1; kept b.yaml; b.yaml:2: did not find expected node content")
	want("it is told once", "a-n1 i:1; kept b.yaml")
	put("a.yaml", pod("a", "i:1")+"  bad\n")
	want("a good one breaks", "a-n1 i:1; kept b.yaml; a.yaml:5: did not find expected key")
	put("a.yaml", pod("a", "i:2"))
	put("b.yaml", pod("a", "i:3"))
	want("mended, but one has the other's name", "a-n1 i:2; b.yaml:3: metadata.name: the Pod default/a-n1 is that of "+filepath.Join(dir, "a.yaml")[len(dir)+1:]+" already; give it another name")
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	want("which it can have once that is gone", "a-n1 i:3")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := read(); !strings.HasPrefix(got, "a-n1 i:3; --pod-manifest-path: ") {
		t.Errorf("without the folder: %s", got)
	}
}

func TestMirrorsShowTheStaticPodsThatRun(t *testing.T) {
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-uid"}}
	static := func(name, hash string) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(hash), Annotations: map[string]string{HashAnnotation: hash}}}
	}
	shown := func(name, hash string) *v1.Pod {
		p := static(name, hash)
		p.UID, p.Annotations[v1.MirrorPodAnnotationKey] = "api", hash
		return p
	}
	deleted := shown("a", "1")
	deleted.DeletionTimestamp = &metav1.Time{Time: seen}
	for _, tt := range []struct {
		name    string
		run     []*v1.Pod
		ending  map[types.UID]bool
		mirrors []*v1.Pod
		node    *v1.Node
		want    string
	}{
		{name: "a new one gets its mirror", run: []*v1.Pod{static("a", "1")}, node: node, want: "create a 1 of node-uid"},
		{name: "but not before the Node is there", run: []*v1.Pod{static("a", "1")}, want: ""},
		{name: "one that has it needs nothing", run: []*v1.Pod{static("a", "1")}, mirrors: []*v1.Pod{shown("a", "1")}, node: node, want: ""},
		{name: "an old one keeps it until it has ended", run: nil, ending: map[types.UID]bool{"1": true}, mirrors: []*v1.Pod{shown("a", "1")}, node: node, want: ""},
		{name: "then it goes, and only then comes the next", run: []*v1.Pod{static("a", "2")}, mirrors: []*v1.Pod{shown("a", "1")}, node: node, want: "delete a 1"},
		{name: "one that somebody deletes is let go, to be made anew", run: []*v1.Pod{static("a", "1")}, mirrors: []*v1.Pod{deleted}, node: node, want: "delete a 1"},
		{name: "one that somebody else made shows nothing", mirrors: []*v1.Pod{shown("x", "9")}, node: node, want: "delete x 9"},
		{name: "also with another's hash", run: []*v1.Pod{static("a", "1")}, mirrors: []*v1.Pod{shown("x", "1")}, node: node, want: "delete x 1, create a 1 of node-uid"},
	} {
		var got []string
		for _, a := range Mirrors(tt.run, tt.ending, tt.mirrors, tt.node) {
			if a.Delete != nil {
				got = append(got, fmt.Sprintf("delete %s %s", a.Delete.Name, a.Delete.Annotations[v1.MirrorPodAnnotationKey]))
				continue
			}
			c := a.Create
			got = append(got, fmt.Sprintf("create %s %s of %s", c.Name, c.Annotations[v1.MirrorPodAnnotationKey], c.OwnerReferences[0].UID))
			if c.UID != "" {
				t.Errorf("%s: it has the UID %s", tt.name, c.UID)
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, s, tt.want)
		}
	}
}
