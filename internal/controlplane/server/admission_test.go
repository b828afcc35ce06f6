package server_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// reviewed answers a review of admission as it should be answered, but for what change does to it.
func reviewed(change func(*admissionv1.AdmissionReview)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		review.Request = nil
		change(&review)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // the client has gone, nobody is left to be told
	}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// hang answers when the client has given up.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then is it seen that the client has gone
	<-r.Context().Done()
}

func admissionServer(t *testing.T) (url string, ca []byte) {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/good": reviewed(func(*admissionv1.AdmissionReview) {}),
		"/deny": reviewed(func(r *admissionv1.AdmissionReview) {
			r.Response.Allowed, r.Response.Result = false, &metav1.Status{Message: "not on Fridays", Code: http.StatusTeapot, Reason: "Friday"}
		}),
		"/hang":        hang,
		"/other-uid":   reviewed(func(r *admissionv1.AdmissionReview) { r.Response.UID = "other" }),
		"/no-response": reviewed(func(r *admissionv1.AdmissionReview) { r.Response = nil }),
		"/bad-patch": reviewed(func(r *admissionv1.AdmissionReview) {
			r.Response.Patch, r.Response.PatchType = []byte(`[{"op":"remove","path":"/data/no/such"}]`), ptr.To(admissionv1.PatchTypeJSONPatch)
		}),
		"/no-patch": reviewed(func(r *admissionv1.AdmissionReview) {
			r.Response.Patch, r.Response.PatchType = []byte(`{`), ptr.To(admissionv1.PatchTypeJSONPatch)
		}),
		"/rename": reviewed(func(r *admissionv1.AdmissionReview) {
			r.Response.Patch, r.Response.PatchType = []byte(`[{"op":"replace","path":"/data","value":7}]`), ptr.To(admissionv1.PatchTypeJSONPatch)
		}),
		"/html": says("<html>Welcome"), "/empty": says(""), "/null": says("null"), "/kind": says(`{"apiVersion":"v1","kind":"Pod"}`),
		"/deep":  says(nested(`{"a":`, `1`, `}`, 100000)),
		"/huge":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(spaces{}, 64<<20)) },
		"/error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"/break": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		},
	} {
		mux.HandleFunc(path, h)
	}
	s := httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// spaces is a long nothing.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// hooked has every new ConfigMap with the label hook=NAME judged by that webhook, and waits until it is.
func hooked(t *testing.T, k kubernetes.Interface, name, url string, ca []byte, mutating bool, policy admissionregistrationv1.FailurePolicyType) {
	t.Helper()
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"hook": name}}
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	to := admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}
	if mutating {
		must[*admissionregistrationv1.MutatingWebhookConfiguration](t)(k.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: name + ".example.com", ClientConfig: to, Rules: rules, ObjectSelector: selector, FailurePolicy: &policy, TimeoutSeconds: ptr.To[int32](1),
				SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}},
		}, metav1.CreateOptions{}))
		return
	}
	must[*admissionregistrationv1.ValidatingWebhookConfiguration](t)(k.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: name + ".example.com", ClientConfig: to, Rules: rules, ObjectSelector: selector, FailurePolicy: &policy, TimeoutSeconds: ptr.To[int32](1),
			SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{}))
}

func TestAWebhookThatDoesNotAnswerAsItShouldCountsByItsFailurePolicy(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	url, ca := admissionServer(t)
	wrongCA := c.PKI.CAPEM()
	// An answer that came, but whose patch does not fit the object, is an error whatever the policy says.
	const doesNotFit = "Internal error occurred: "
	tests := []struct {
		name, at string
		ca       []byte
		mutating bool
		says     string
	}{
		{"hang", "/hang", ca, false, "context deadline exceeded"},
		{"hang-mutating", "/hang", ca, true, "context deadline exceeded"},
		{"broken-bundle", "/good", []byte("no certificate"), false, "unable to load root certificates"},
		{"wrong-bundle", "/good", wrongCA, false, "certificate signed by unknown authority"},
		{"no-bundle", "/good", nil, false, "certificate signed by unknown authority"},
		{"other-uid", "/other-uid", ca, false, "expected response.uid"},
		{"no-response", "/no-response", ca, false, "webhook response was absent"},
		{"bad-patch", "/bad-patch", ca, true, doesNotFit + "remove operation does not apply"},
		{"no-patch", "/no-patch", ca, true, "unexpected end of JSON input"},
		{"a-patch-to-no-object", "/rename", ca, true, doesNotFit + "json: cannot unmarshal number"},
		{"html", "/html", ca, false, "json parse error"},
		{"empty", "/empty", ca, false, ""},
		{"null", "/null", ca, false, ""},
		{"another-kind", "/kind", ca, false, ""},
		{"deep", "/deep", ca, false, "exceeded max depth"},
		{"huge", "/huge", ca, false, ""},
		{"error", "/error", ca, false, "an error on the server"},
		{"broken-off", "/break", ca, false, "EOF"},
		{"loop", "/loop", ca, false, ""},
		{"not-there", "/nowhere", ca, false, "the server could not find the requested resource"},
	}
	create := func(hook string) error {
		_, err := k.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-", Labels: map[string]string{"hook": hook}}}, metav1.CreateOptions{})
		return err
	}
	for _, test := range tests {
		hooked(t, k, test.name+"-fail", url+test.at, test.ca, test.mutating, admissionregistrationv1.Fail)
		hooked(t, k, test.name+"-ignore", url+test.at, test.ca, test.mutating, admissionregistrationv1.Ignore)
	}
	// The last ones made: when they count, the others do.
	hooked(t, k, "deny-mutating", url+"/deny", ca, true, admissionregistrationv1.Ignore)
	hooked(t, k, "deny", url+"/deny", ca, false, admissionregistrationv1.Ignore)
	for _, hook := range []string{"deny-mutating", "deny"} {
		eventually(t, "the webhooks count", func() bool { return create(hook) != nil })
		err := create(hook)
		if want := fmt.Sprintf(`admission webhook "%s.example.com" denied the request: not on Fridays`, hook); err == nil || err.Error() != want || apierrors.ReasonForError(err) != "Friday" {
			t.Errorf("a webhook that answers: %v, %s", err, apierrors.ReasonForError(err))
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			err := create(test.name + "-fail")
			took := time.Since(begin)
			want := fmt.Sprintf(`failed calling webhook "%s-fail.example.com"`, test.name)
			always := strings.HasPrefix(test.says, doesNotFit)
			if always {
				want = test.says
			}
			if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("failurePolicy Fail: %.500v\nwant an internal error with %q and %q", err, want, test.says)
			}
			if took > 4*time.Second {
				t.Errorf("a webhook with a timeout of 1 s held the request for %s", took)
			}
			if err := create(test.name + "-ignore"); err != nil != always {
				t.Errorf("failurePolicy Ignore: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		eventually(t, "no call of a webhook is left", func() bool {
			return !running(").callHook(") && !running("AttrCallHook(") && !running("server_test.hang")
		})
	})
}

// running tells whether a goroutine is in a function.
func running(function string) bool {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	return strings.Contains(b.String(), function)
}
