package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// raw is an HTTP client of an administrator, which sends whatever it is told to.
func raw(t *testing.T, c *servertest.Cluster) *http.Client {
	t.Helper()
	cert, key, err := c.PKI.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.PKI.CAPEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// send makes one request and reads the answer, which must be a Status unless it is a success.
func send(t *testing.T, client *http.Client, method, url, contentType, body string) (int, metav1.Status) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status metav1.Status
	if resp.StatusCode >= 300 {
		if err := json.Unmarshal(text, &status); err != nil || status.Kind != "Status" || status.APIVersion != "v1" || status.Status != metav1.StatusFailure || int(status.Code) != resp.StatusCode {
			t.Errorf("%s %s: the answer with code %d is not the Status of a failure: %.300s", method, url, resp.StatusCode, text)
		}
	}
	return resp.StatusCode, status
}

func nested(open, inner, end string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
}

func TestWhateverIsSentIsAnsweredByAStatus(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	h := raw(t, c)
	const maps, jsonType, yamlType = "/api/v1/namespaces/shop/configmaps", "application/json", "application/yaml"
	if code, _ := send(t, h, http.MethodPost, c.URL+maps, jsonType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"there"}}`); code != http.StatusCreated {
		t.Fatalf("a good ConfigMap: %d", code)
	}
	object := func(more string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}` + more + `}`
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	before := goroutines()
	for _, test := range []struct {
		name, method, path, contentType, body string
		code                                  int
		reason                                metav1.StatusReason
		says                                  string
	}{
		{"no JSON", "POST", maps, jsonType, `{"apiVersion":`, 400, metav1.StatusReasonBadRequest, "unexpected end of JSON input"},
		{"something after the JSON", "POST", maps, jsonType, object("") + "}", 400, metav1.StatusReasonBadRequest, "invalid character"},
		{"no YAML", "POST", maps, yamlType, "a: [", 400, metav1.StatusReasonBadRequest, "yaml"},
		{"an alias bomb", "POST", maps, yamlType, bomb(), 400, metav1.StatusReasonBadRequest, "yaml: document contains excessive aliasing"},
		{"no protobuf", "POST", maps, "application/vnd.kubernetes.protobuf", "k8s\x00\x0a\xff\xff\xff\xff\xff", 400, metav1.StatusReasonBadRequest, "unexpected EOF"},
		{"protobuf without its prefix", "POST", maps, "application/vnd.kubernetes.protobuf", "abc", 400, metav1.StatusReasonBadRequest, "provided data does not appear to be a protobuf message"},
		{"no CBOR", "POST", maps, "application/cbor", "\xd9\xd9\xf7\x9f\x9f", 400, metav1.StatusReasonBadRequest, "unexpected EOF"},
		{"nothing", "POST", maps, jsonType, "", 400, metav1.StatusReasonBadRequest, ""},
		{"null", "POST", maps, jsonType, "null", 422, metav1.StatusReasonInvalid, "name or generateName is required"},
		{"a list where an object belongs", "POST", maps, jsonType, `[]`, 400, metav1.StatusReasonBadRequest, ""},
		{"bytes that are no text", "POST", maps, jsonType, "\xff\xfe\x00", 400, metav1.StatusReasonBadRequest, ""},
		{"a wrong type", "POST", maps, jsonType, object(`,"data":{"a":1}`), 400, metav1.StatusReasonBadRequest, "cannot unmarshal number into Go struct field ConfigMap.data of type string"},
		{"another kind", "POST", maps, jsonType, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, 400, metav1.StatusReasonBadRequest, "Secret in version \"v1\" cannot be handled as a ConfigMap"},
		{"another version", "POST", maps, jsonType, `{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"x"}}`, 400, metav1.StatusReasonBadRequest, "v2"},
		{"an unknown kind", "POST", maps, jsonType, `{"apiVersion":"v1","kind":"Surprise"}`, 400, metav1.StatusReasonBadRequest, "Surprise"},
		{"another namespace", "POST", maps, jsonType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"bank"}}`, 400, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match"},
		{"no name", "POST", maps, jsonType, `{"apiVersion":"v1","kind":"ConfigMap"}`, 422, metav1.StatusReasonInvalid, "name or generateName is required"},
		{"a type that is not known", "POST", maps, "text/plain", object(""), 415, metav1.StatusReasonUnsupportedMediaType, "accepted media types include: application/json"},
		{"a type that is none", "POST", maps, ";;", object(""), 415, metav1.StatusReasonUnsupportedMediaType, ""},
		{"an unknown field, strictly", "POST", maps + "?fieldValidation=Strict", jsonType, object(`,"surprise":1`), 400, metav1.StatusReasonBadRequest, `unknown field "surprise"`},
		{"a field twice, strictly", "POST", maps + "?fieldValidation=Strict", jsonType, object(`,"data":{},"data":{}`), 400, metav1.StatusReasonBadRequest, `duplicate field "data"`},
		{"another strictness", "POST", maps + "?fieldValidation=Some", jsonType, object(""), 422, metav1.StatusReasonInvalid, "fieldValidation"},
		{"another dry run", "POST", maps + "?dryRun=Some", jsonType, object(""), 422, metav1.StatusReasonInvalid, "dryRun"},

		{"data of 1.5 MB", "POST", maps, jsonType, object(`,"data":{"a":"` + long(1500<<10) + `"}`), 422, metav1.StatusReasonInvalid, "may not be more than 1048576 bytes"},
		{"annotations of 1.5 MB", "POST", maps, jsonType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","annotations":{"a":"` + long(1500<<10) + `"}}}`, 422, metav1.StatusReasonInvalid, "metadata.annotations: Too long: may not be more than 262144 bytes"},
		{"a body of 4 MB", "POST", maps, jsonType, object(`,"data":{"a":"` + long(4<<20) + `"}`), 413, metav1.StatusReasonRequestEntityTooLarge, "limit is 3145728"},
		{"a patch of 4 MB", "PATCH", maps + "/there", "application/merge-patch+json", `{"data":{"a":"` + long(4<<20) + `"}}`, 413, metav1.StatusReasonRequestEntityTooLarge, "limit is 3145728"},
		{"an apply of 4 MB", "PATCH", maps + "/there?fieldManager=m", "application/apply-patch+yaml", object(`,"data":{"a":"` + long(4<<20) + `"}`), 413, metav1.StatusReasonRequestEntityTooLarge, "limit is 3145728"},
		{"options of 4 MB", "DELETE", maps + "/there", jsonType, `{"a":"` + long(4<<20) + `"}`, 413, metav1.StatusReasonRequestEntityTooLarge, "limit is 3145728"},

		{"deep JSON in a field", "POST", maps, jsonType, object(`,"data":` + nested(`{"a":`, `1`, `}`, 100000)), 400, metav1.StatusReasonBadRequest, "exceeded max depth"},
		{"deep JSON lists", "POST", maps, jsonType, nested(`[`, ``, `]`, 500000), 400, metav1.StatusReasonBadRequest, ""},
		{"deep YAML", "POST", maps, yamlType, "data: " + nested(`{a: `, `1`, `}`, 100000), 400, metav1.StatusReasonBadRequest, "exceeded max depth"},
		{"deep YAML lists", "POST", maps, yamlType, nested(`[`, ``, `]`, 500000), 400, metav1.StatusReasonBadRequest, "exceeded max depth"},
		{"deep options", "DELETE", maps + "/there", jsonType, nested(`{"a":`, `1`, `}`, 100000), 400, metav1.StatusReasonBadRequest, "exceeded max depth"},
		{"a deep merge patch", "PATCH", maps + "/there", "application/merge-patch+json", nested(`{"a":`, `1`, `}`, 100000), 400, metav1.StatusReasonBadRequest, "invalid JSON patch"},
		{"a deep strategic patch", "PATCH", maps + "/there", "application/strategic-merge-patch+json", nested(`{"a":`, `1`, `}`, 100000), 400, metav1.StatusReasonBadRequest, "invalid JSON patch"},
		{"a deep apply", "PATCH", maps + "/there?fieldManager=m", "application/apply-patch+yaml", "data: " + nested(`{a: `, `1`, `}`, 100000), 400, metav1.StatusReasonBadRequest, "exceeded max depth"},
		{"deep protobuf", "POST", maps, "application/vnd.kubernetes.protobuf", "k8s\x00" + nested("\x0b", "", "\x0c", 100000), 400, metav1.StatusReasonBadRequest, ""},

		{"no JSON patch", "PATCH", maps + "/there", "application/json-patch+json", `{"op":"add"}`, 400, metav1.StatusReasonBadRequest, "cannot unmarshal object"},
		{"a JSON patch of too many steps", "PATCH", maps + "/there", "application/json-patch+json", "[" + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/kind","value":"ConfigMap"},`, 10001), ",") + "]", 413, metav1.StatusReasonRequestEntityTooLarge, "allowed maximum operations in a JSON patch is 10000"},
		{"a JSON patch of nothing that is there", "PATCH", maps + "/there", "application/json-patch+json", `[{"op":"remove","path":"/data/no"}]`, 422, metav1.StatusReasonInvalid, ""},
		{"no merge patch", "PATCH", maps + "/there", "application/merge-patch+json", `[`, 400, metav1.StatusReasonBadRequest, ""},
		{"no strategic patch", "PATCH", maps + "/there", "application/strategic-merge-patch+json", `"a"`, 400, metav1.StatusReasonBadRequest, ""},
		{"an unknown patch", "PATCH", maps + "/there", "application/json", `{}`, 415, metav1.StatusReasonUnsupportedMediaType, "Unsupported Media Type"},
		{"an apply by nobody", "PATCH", maps + "/there", "application/apply-patch+yaml", object(""), 422, metav1.StatusReasonInvalid, "fieldManager"},
		{"no apply", "PATCH", maps + "/there?fieldManager=m", "application/apply-patch+yaml", "a: [", 400, metav1.StatusReasonBadRequest, "yaml"},

		{"a limit that is no number", "GET", maps + "?limit=many", "", "", 400, metav1.StatusReasonBadRequest, "many"},
		{"a bad continue", "GET", maps + "?limit=1&continue=zzz", "", "", 400, metav1.StatusReasonBadRequest, "continue"},
		{"a bad version", "GET", maps + "?resourceVersion=zzz", "", "", 400, metav1.StatusReasonBadRequest, "resourceVersion"},
		{"a bad version match", "GET", maps + "?resourceVersionMatch=Maybe&resourceVersion=1", "", "", 422, metav1.StatusReasonInvalid, "resourceVersionMatch"},
		{"a bad label selector", "GET", maps + "?labelSelector=a+in+(", "", "", 400, metav1.StatusReasonBadRequest, "unable to parse requirement"},
		{"a bad field selector", "GET", maps + "?fieldSelector=zzz", "", "", 400, metav1.StatusReasonBadRequest, "invalid selector"},
		{"a field that cannot be selected by", "GET", maps + "?fieldSelector=data.a%3D1", "", "", 400, metav1.StatusReasonBadRequest, `"data.a" is not a known field selector`},
		{"bad delete options", "DELETE", maps + "/there?gracePeriodSeconds=soon", "", "", 400, metav1.StatusReasonBadRequest, "soon"},
		{"a propagation that does not exist", "DELETE", maps + "/there?propagationPolicy=Maybe", "", "", 422, metav1.StatusReasonInvalid, "propagationPolicy"},
		{"an unknown method", "FROB", maps, "", "", 405, metav1.StatusReasonMethodNotAllowed, ""},
		{"a resource that does not exist", "GET", "/api/v1/namespaces/shop/surprises", "", "", 404, metav1.StatusReasonNotFound, ""},
		{"a name that cannot be", "GET", maps + "/a%2Fb", "", "", 404, metav1.StatusReasonNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, status := send(t, h, test.method, c.URL+test.path, test.contentType, test.body)
			if code != test.code || status.Reason != test.reason || !strings.Contains(status.Message, test.says) {
				t.Errorf("got %d %s %.300q, want %d %s and the words %q", code, status.Reason, status.Message, test.code, test.reason, test.says)
			}
		})
	}
	if code, _ := send(t, h, http.MethodGet, c.URL+"/readyz", "", ""); code != http.StatusOK {
		t.Errorf("after all that the server is not ready: %d", code)
	}
	h.CloseIdleConnections()
	eventually(t, "no request has left anything running", func() bool { return goroutines() <= before+10 })
}

// bomb is a short document that would be a billion nodes.
func bomb() string {
	var b bytes.Buffer
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		prev, this := string(rune('0'+i-1)), string(rune('0'+i))
		b.WriteString("a" + this + ": &a" + this + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+",", 9), ",") + "]\n")
	}
	return b.String()
}

func goroutines() int { return runtime.NumGoroutine() }
