package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func parse(t *testing.T, name, spec string) (*unstructured.Unstructured, v1alpha1.ObjectRef) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("{apiVersion: v1, kind: Service, metadata: {name: "+name+", namespace: shop}, spec: "+spec+"}"), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u, v1alpha1.ObjectRef{Version: "v1", Kind: "Service", Namespace: "shop", Name: name}
}

func TestAServiceTakesOverWhatOneThatIsDroppedHolds(t *testing.T) {
	for name, test := range map[string]struct {
		old, new string
		release  bool
		// first are the Services that go first, trial is the spec that is tried meanwhile.
		first, trial string
	}{
		"node port": {
			old: `{ports: [{port: 80, nodePort: 30080}]}`, new: `{type: NodePort, ports: [{port: 80, nodePort: 30080}, {port: 81, nodePort: 30081}]}`,
			first: "old", trial: `{type: NodePort, ports: [{port: 80}, {port: 81, nodePort: 30081}]}`,
		},
		"cluster IP, and nothing twice": {
			old: `{clusterIP: 10.43.0.7, clusterIPs: [10.43.0.7]}`, new: `{clusterIP: 10.43.0.7, clusterIPs: [10.43.0.7]}`, first: "old", trial: `{}`,
		},
		"the same number of another protocol": {
			old: `{ports: [{port: 53, protocol: UDP, nodePort: 30053}]}`, new: `{ports: [{port: 53, nodePort: 30053}]}`,
			trial: `{ports: [{port: 53, nodePort: 30053}]}`,
		},
		"headless ones share no address": {old: `{clusterIP: None}`, new: `{clusterIP: None}`, trial: `{clusterIP: None}`},
		"one that is kept keeps its port": {
			old: `{ports: [{port: 80, nodePort: 30080}]}`, new: `{ports: [{port: 80, nodePort: 30080}]}`, release: true,
			trial: `{ports: [{port: 80, nodePort: 30080}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			live, oldRef := parse(t, "old", test.old)
			desired, newRef := parse(t, "new", test.new)
			changes := []Change{{Object: &Object{Ref: newRef, Desired: desired}}}
			HandOver(changes, []Removal{{Ref: oldRef, Live: live, Release: test.release}})
			var first []string
			for _, r := range changes[0].successorOf {
				first = append(first, r.Ref.Name)
			}
			if got := strings.Join(first, " "); got != test.first {
				t.Errorf("%q go first, want %q", got, test.first)
			}
			want, _ := parse(t, "new", test.trial)
			if diff := cmp.Diff(want.Object, changes[0].trial().Object); diff != "" {
				t.Errorf("what is tried (-want +got):\n%s", diff)
			}
			if again, _ := parse(t, "new", test.new); cmp.Diff(again.Object, desired.Object) != "" {
				t.Error("the desired object was changed")
			}
		})
	}
}
