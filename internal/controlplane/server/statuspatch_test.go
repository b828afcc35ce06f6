package server_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// patched is a kind whose status is patched: an object, and the parts that patches are drawn from.
type patched struct {
	path, object string
	status       []string
}

var patchedKinds = []patched{
	{"/api/v1/namespaces/default/pods", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"NAME","labels":{"a":"b"},"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"1"}]},
		"spec":{"schedulerName":"nobody","automountServiceAccountToken":false,"containers":[{"name":"a","image":"i","env":[{"name":"X","value":"1"}]},{"name":"b","image":"i"}],"tolerations":[{"key":"k","operator":"Exists"}]}}`,
		[]string{
			`"phase":"Running"`, `"phase":null`, `"phase":7`, `"message":"hello"`, `"nope":1`, `"podIPs":[{"ip":"10.0.0.1"}],"podIP":"10.0.0.1"`, `"podIPs":[{"$patch":"delete","ip":"10.0.0.1"}]`,
			`"conditions":[{"type":"Ready","status":"True"},{"type":"Initialized","status":"False","reason":"R"}]`, `"conditions":[{"type":"Ready","status":"False","message":"m"}]`,
			`"conditions":[{"$patch":"delete","type":"Ready"}]`, `"$setElementOrder/conditions":[{"type":"Initialized"},{"type":"Ready"}]`, `"conditions":[{"$patch":"replace"}]`, `"conditions":[{"status":"True"}]`, `"conditions":"none"`,
			`"containerStatuses":[{"name":"a","image":"i","imageID":"","ready":true,"restartCount":1,"state":{"running":{"startedAt":"2026-01-02T03:04:05Z"}}}]`,
			`"containerStatuses":null`, `"startTime":"2026-01-02T03:04:05Z"`, `"startTime":"yesterday"`, `"hostIP":"not an address"`, `"$patch":"replace","phase":"Failed"`, `"qosClass":"Guaranteed"`, `"observedGeneration":1,"phase":"Pending"`,
		}},
	{"/api/v1/nodes", `{"kind":"Node","apiVersion":"v1","metadata":{"name":"NAME","labels":{"a":"b"}},"spec":{"podCIDR":"10.1.0.0/24","taints":[{"key":"t","effect":"NoSchedule"}]}}`,
		[]string{
			`"capacity":{"cpu":"4","memory":"8Gi"}`, `"capacity":{"cpu":null}`, `"allocatable":{"cpu":"2"}`, `"allocatable":null`, `"addresses":[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"n"}]`,
			`"addresses":[{"type":"InternalIP","address":"10.0.0.2"}]`, `"conditions":[{"type":"Ready","status":"True"}]`, `"capacity":{"cpu":"-1"}`, `"images":[{"names":["a"],"sizeBytes":1}]`, `"nodeInfo":{"kubeletVersion":"v1"}`, `"nodeInfo":{"what":"v1"}`,
		}},
	{"/apis/apps/v1/namespaces/default/replicasets", `{"kind":"ReplicaSet","apiVersion":"apps/v1","metadata":{"name":"NAME"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"i"}]}}}}`,
		[]string{`"replicas":2,"readyReplicas":1`, `"conditions":[{"type":"ReplicaFailure","status":"True"}]`, `"observedGeneration":1`, `"replicas":null`}},
	{"/apis/apps/v1/namespaces/default/statefulsets", `{"kind":"StatefulSet","apiVersion":"apps/v1","metadata":{"name":"NAME"},"spec":{"serviceName":"s","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"i"}]}}}}`,
		[]string{`"replicas":2`, `"replicas":3,"readyReplicas":1`, `"readyReplicas":2`, `"observedGeneration":1`, `"currentRevision":"r","updateRevision":"s"`, `"currentRevision":"q"`, `"collisionCount":1`, `"replicas":"x"`}},
	{"/apis/apps/v1/namespaces/default/daemonsets", `{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"NAME"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"i"}]}}}}`,
		[]string{`"currentNumberScheduled":1,"desiredNumberScheduled":2`, `"numberReady":1`, `"numberReady":-1`, `"observedGeneration":null`}},
	{"/apis/apps/v1/namespaces/default/deployments", `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"NAME"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"i"}]}}}}`,
		[]string{`"replicas":2,"readyReplicas":1`, `"readyReplicas":3`, `"conditions":[{"type":"Available","status":"True"}]`, `"conditions":[{"type":"Progressing","status":"False"}]`, `"observedGeneration":1`, `"replicas":-1`, `"replicas":null`, `"x":{}`}},
	{"/api/v1/namespaces/default/services", `{"kind":"Service","apiVersion":"v1","metadata":{"name":"NAME"},"spec":{"type":"LoadBalancer","ports":[{"port":80}],"selector":{"a":"b"}}}`,
		[]string{`"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}`, `"loadBalancer":{"ingress":[{"hostname":"h"}]}`, `"loadBalancer":null`, `"loadBalancer":{"ingress":[{"ip":"x"}]}`, `"conditions":[{"type":"A","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}]`}},
	{"/apis/batch/v1/namespaces/default/jobs", `{"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"NAME"},"spec":{"suspend":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"i"}]}}}}`,
		[]string{`"active":1`, `"failed":1,"active":0`, `"startTime":"2026-01-02T03:04:05Z"`, `"uncountedTerminatedPods":{"failed":["u"]}`, `"conditions":[{"type":"Complete","status":"True"}]`}},
	{"/api/v1/namespaces/default/persistentvolumeclaims", `{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":{"name":"NAME"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`,
		[]string{`"phase":"Bound"`, `"capacity":{"storage":"1Gi"}`, `"capacity":{"storage":"x"}`, `"accessModes":["ReadWriteOnce"]`, `"conditions":[{"type":"Resizing","status":"True"}]`}},
}

// A patch that names the spec too, if only with nothing in it, is worked out on the whole object: the library's own way.
func TestAPatchOfTheStatusIsWorkedOutOnTheStatusAndGivesWhatTheWholeObjectWould(t *testing.T) {
	c := servertest.Start(t)
	k := kubernetes.NewForConfigOrDie(c.User(t, "admin", "system:masters"))
	meta := metav1.ObjectMeta{Name: "default"}
	if _, err := k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for n, kind := range patchedKinds {
		name := fmt.Sprintf("k%d", n)
		t.Run(kind.path, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			send := func(object, verb, path, manager, mode string, patch types.PatchType, body string) (answer string) {
				req := k.CoreV1().RESTClient().Verb(verb).AbsPath(path).Param("fieldManager", manager).Param("fieldValidation", mode).Body([]byte(strings.ReplaceAll(body, "NAME", object)))
				req.SetHeader("Content-Type", string(patch))
				if patch == types.ApplyPatchType {
					req.Param("force", "true")
				}
				result := req.Do(t.Context())
				raw, err := result.Raw()
				if err != nil {
					answer = "error: " + err.Error()
				} else {
					answer = comparable(t, raw)
				}
				for _, w := range result.Warnings() {
					answer += "\nwarning: " + w.Text
				}
				// The names of both objects, and the patch when it is quoted, may differ.
				answer = strings.NewReplacer(object, "NAME", `"spec":{},`, "", "spec:map[] ", "").Replace(answer)
				return answer
			}
			both := func(verb, sub, manager, mode string, patch types.PatchType, narrow, whole string) {
				t.Helper()
				a := send(name+"a", verb, kind.path+"/"+name+"a"+sub, manager, mode, patch, narrow)
				b := send(name+"b", verb, kind.path+"/"+name+"b"+sub, manager, mode, patch, whole)
				if a != b {
					t.Fatalf("%s %s of %s as %s (%s, %s)\non the status: %s\non the whole:  %s", verb, sub, narrow, manager, patch, mode, a, b)
				}
			}
			for _, object := range []string{name + "a", name + "b"} {
				if got := send(object, "POST", kind.path, "creator", "Strict", "application/json", kind.object); strings.HasPrefix(got, "error") {
					t.Fatal(got)
				}
			}
			refused := 0
			for range 150 {
				manager := fmt.Sprintf("m%d", r.IntN(4))
				mode := []string{"Strict", "Warn", "Ignore"}[r.IntN(3)]
				switch r.IntN(12) {
				case 0: // somebody else writes
					text := fmt.Sprintf(`{"metadata":{"labels":{"l%d":"%d"},"annotations":{"x":"%d"}}}`, r.IntN(3), r.IntN(9), r.IntN(9))
					both("PATCH", "", manager, mode, types.MergePatchType, text, text)
					continue
				case 1: // and somebody applies
					var meta metav1.PartialObjectMetadata
					if err := json.Unmarshal([]byte(kind.object), &meta); err != nil {
						t.Fatal(err)
					}
					text := fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"name":"NAME"},"status":{%s}}`, meta.Kind, meta.APIVersion, kind.status[r.IntN(len(kind.status))])
					both("PATCH", "/status", "applier", mode, types.ApplyPatchType, text, text)
					continue
				}
				patch := []types.PatchType{types.StrategicMergePatchType, types.MergePatchType}[r.IntN(2)]
				parts := []string{kind.status[r.IntN(len(kind.status))]}
				if other := kind.status[r.IntN(len(kind.status))]; r.IntN(2) == 0 && key(other) != key(parts[0]) {
					parts = append(parts, other)
				}
				status := fmt.Sprintf(`"status":{%s}`, strings.Join(parts, ","))
				switch r.IntN(10) {
				case 0:
					status = `"metadata":{"name":"NAME"},` + status
				case 1:
					status = `"metadata":{"resourceVersion":"1"},` + status
				case 2:
					status = `"metadata":{"uid":"another"},` + status
				case 3:
					status = `"status":null`
				}
				before := send(name+"a", "GET", kind.path+"/"+name+"a", "", "", "", "")
				both("PATCH", "/status", manager, mode, patch, "{"+status+"}", `{"spec":{},`+status+"}")
				if after := send(name+"a", "GET", kind.path+"/"+name+"a", "", "", "", ""); after == before {
					refused++
				}
			}
			both("GET", "", "", "", "", "", "")
			if refused > 130 {
				t.Errorf("%d of 150 rounds changed nothing: too few changes to compare", refused)
			}
		})
	}
}

func key(part string) string { name, _, _ := strings.Cut(part, ":"); return name }

// comparable is an answer without what differs between two objects that are alike.
func comparable(t *testing.T, raw []byte) string {
	t.Helper()
	var u unstructured.Unstructured
	if err := json.Unmarshal(raw, &u.Object); err != nil {
		t.Fatal(err)
	}
	uid := string(u.GetUID())
	for _, path := range [][]string{{"metadata", "resourceVersion"}, {"metadata", "creationTimestamp"}, {"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "ports"}} {
		unstructured.RemoveNestedField(u.Object, path...)
	}
	managed, _, _ := unstructured.NestedSlice(u.Object, "metadata", "managedFields")
	for _, e := range managed {
		e := e.(map[string]any)
		e["time"] = fmt.Sprint(e["time"] != nil)
	}
	// They are in the order of their times, and a second may end between two writes.
	slices.SortFunc(managed, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	if managed != nil {
		if err := unstructured.SetNestedSlice(u.Object, managed, "metadata", "managedFields"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	if uid == "" {
		return string(text)
	}
	return strings.ReplaceAll(string(text), uid, "UID")
}
