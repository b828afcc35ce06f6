package server_test

import (
	"encoding/pem"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// warnings are what a client is warned of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// taken are those since the last time.
func (w *warnings) taken() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.text = nil }()
	return strings.Join(w.text, "\n")
}

// TestWhatWebhooksDoToManagedFieldsCountsIfItCanBeRead makes each kind of write with no webhook, and with webhooks that have their hands on the managed fields each time.
func TestWhatWebhooksDoToManagedFieldsCountsIfItCanBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		patch, warning string
		// managers are whose lists there are in the end.
		managers string
	}{
		"no webhook": {managers: "creator node patcher updater"},
		"nonsense": {`[{"op":"replace","path":"/metadata/managedFields/0/operation","value":"Nonsense"}]`,
			"managedFields was in an invalid state", "creator node patcher updater"},
		"one more": {`[{"op":"add","path":"/metadata/managedFields/-","value":{"manager":"webhook","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1",` +
			`"fieldsV1":{"f:metadata":{"f:labels":{"f:a":{}}}}}}]`, "", "creator node patcher updater webhook"},
		"none": {`[{"op":"add","path":"/metadata/managedFields","value":[]}]`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := servertest.Start(t)
			seen := &warnings{}
			config := rest.CopyConfig(cluster.User(t, "admin", "system:masters"))
			config.WarningHandler = seen
			k := client(t, config)
			namespace(t, k, "shop")
			must[*corev1.ServiceAccount](t)(k.CoreV1().ServiceAccounts("shop").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}))
			if c.patch != "" {
				patchPods(t, k, c.patch)
			}
			pods := k.CoreV1().Pods("shop")
			for _, write := range []struct {
				manager string
				by      func(manager string) (*corev1.Pod, error)
			}{
				{"creator", func(m string) (*corev1.Pod, error) {
					return pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"a": "1"}}, Spec: corev1.PodSpec{
						SchedulerName: "nobody", AutomountServiceAccountToken: ptr.To(false), Containers: []corev1.Container{{Name: "web", Image: "web:v1"}},
					}}, metav1.CreateOptions{FieldManager: m})
				}},
				{"updater", func(m string) (*corev1.Pod, error) {
					p := must[*corev1.Pod](t)(pods.Get(t.Context(), "web", metav1.GetOptions{}))
					p.Labels["b"] = "1"
					return pods.Update(t.Context(), p, metav1.UpdateOptions{FieldManager: m})
				}},
				{"patcher", func(m string) (*corev1.Pod, error) {
					return pods.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"c":"1"}}}`), metav1.PatchOptions{FieldManager: m})
				}},
				{"node", func(m string) (*corev1.Pod, error) {
					return pods.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{FieldManager: m}, "status")
				}},
			} {
				p, err := write.by(write.manager)
				if err != nil {
					t.Fatalf("write of %s: %v", write.manager, err)
				}
				if got := managers(p); strings.Contains(c.managers, write.manager) != slices.Contains(got, write.manager) {
					t.Errorf("after the write of %s there are lists of %q", write.manager, got)
				}
				if warned := seen.taken(); c.warning == "" && warned != "" || !strings.Contains(warned, c.warning) {
					t.Errorf("%s was warned of %q, want %q", write.manager, warned, c.warning)
				}
			}
			p := must[*corev1.Pod](t)(pods.Get(t.Context(), "web", metav1.GetOptions{}))
			if got := strings.Join(managers(p), " "); got != c.managers {
				t.Errorf("stored with lists of %q, want %q", got, c.managers)
			}
			for _, e := range p.ManagedFields {
				if text := string(e.FieldsV1.GetRawBytes()); !strings.HasPrefix(text, `{"f:`) || e.Operation != metav1.ManagedFieldsOperationUpdate {
					t.Errorf("%s manages %s by %s", e.Manager, text, e.Operation)
				}
			}
		})
	}
}

// managers are whose lists an object has, each once, in order.
func managers(p *corev1.Pod) []string {
	var names []string
	for _, e := range p.ManagedFields {
		names = append(names, e.Manager)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// patchPods has a webhook patch every Pod that is written, and every status.
func patchPods(t *testing.T, k kubernetes.Interface, patch string) {
	t.Helper()
	var asked atomic.Int32
	s := httptest.NewTLSServer(reviewed(func(r *admissionv1.AdmissionReview) {
		asked.Add(1)
		r.Response.Patch, r.Response.PatchType = []byte(patch), ptr.To(admissionv1.PatchTypeJSONPatch)
	}))
	t.Cleanup(s.Close)
	must[*admissionregistrationv1.MutatingWebhookConfiguration](t)(k.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "fields"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "fields.example.com", SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &s.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods", "pods/status"}},
			}},
		}},
	}, metav1.CreateOptions{}))
	// There is no event for "the webhook is asked".
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.PodSpec{AutomountServiceAccountToken: ptr.To(false), Containers: []corev1.Container{{Name: "a", Image: "i"}}}}
		_, err := k.CoreV1().Pods("shop").Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && asked.Load() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the webhook is not asked: %v", err)
		}
	}
}
