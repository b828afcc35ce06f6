package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// reviewer is an API server that knows one token, and one role: what its holder may.
func reviewer(t *testing.T, may ...string) (*Access, *[]string) {
	t.Helper()
	client, asked := fake.NewClientset(), &[]string{}
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		*asked = append(*asked, "token "+r.Spec.Token)
		switch r.Spec.Token {
		case "good":
			r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:monitoring:prometheus"}}
		case "unlucky":
			return true, nil, errors.New("connection refused")
		}
		return true, r, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		at := r.Spec.ResourceAttributes
		what := at.Verb + " " + at.Resource + "/" + at.Subresource + " " + at.Name
		*asked = append(*asked, what)
		for _, m := range may {
			r.Status.Allowed = r.Status.Allowed || m+" n1" == what
		}
		return true, r, nil
	})
	return &Access{Client: client, Node: "n1"}, asked
}

// request is one with a token, or with a certificate of a user ("name/group").
func request(method, path, token, certificate string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if certificate != "" {
		name, group, _ := strings.Cut(certificate, "/")
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{group}}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	}
	return r
}

func TestWhoMayAskANode(t *testing.T) {
	for _, c := range []struct {
		name, method, path, token, certificate string
		may                                    []string
		code                                   int
		why                                    string
	}{
		{"the API server", "POST", "/exec/ns/p/c", "", "system:gitopsd:apiserver/system:masters", nil, 0, ""},
		{"nobody", "GET", "/metrics", "", "", nil, 401, "show a client certificate"},
		{"a token of another cluster", "GET", "/metrics", "bad", "", nil, 401, "not one of this cluster"},
		{"a token while the API server is away", "GET", "/metrics", "unlucky", "", nil, 401, "could not be asked"},
		{"a scraper with its role", "GET", "/metrics/cadvisor", "good", "", []string{"get nodes/metrics"}, 0, ""},
		{"a scraper without a role", "GET", "/metrics", "good", "", nil, 403, "a role must allow it one of nodes/metrics"},
		{"a scraper that wants more", "POST", "/exec/ns/p/c", "good", "", []string{"get nodes/metrics"}, 403, "verb=create, resource=nodes, subresource(s)=[proxy]"},
		{"figures need a right of their own", "GET", "/stats/summary", "good", "", []string{"get nodes/proxy"}, 403, "nodes/stats"},
		{"a fine right", "GET", "/pods", "good", "", []string{"get nodes/pods"}, 0, ""},
		{"the coarse right in its stead", "GET", "/pods", "good", "", []string{"get nodes/proxy"}, 0, ""},
		{"configuration", "GET", "/configz", "good", "", []string{"get nodes/configz"}, 0, ""},
		{"reading is not running", "POST", "/exec/ns/p/c", "good", "", []string{"get nodes/proxy"}, 403, "verb=create"},
		{"a user with a certificate", "GET", "/logs/", "", "alice/dev", []string{"get nodes/log"}, 0, ""},
		{"another node", "GET", "/pods", "", "system:node:n2/system:nodes", nil, 403, "user=system:node:n2"},
		{"a path like another", "GET", "/metricsx", "good", "", []string{"get nodes/metrics"}, 403, "[proxy]"},
	} {
		a, _ := reviewer(t, c.may...)
		code, why := a.refuse(request(c.method, c.path, c.token, c.certificate))
		if code != c.code || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d %q, want %d and %q in it", c.name, code, why, c.code, c.why)
		}
	}
}

func TestAnAnswerIsBelievedForAWhile(t *testing.T) {
	a, asked := reviewer(t, "get nodes/metrics")
	for range 3 {
		if code, why := a.refuse(request("GET", "/metrics", "good", "")); code != 0 {
			t.Fatal(why)
		}
	}
	if len(*asked) != 2 {
		t.Errorf("for three requests the API server was asked %q, want one question about the token and one about the right", *asked)
	}
	for range 2 {
		a.refuse(request("GET", "/metrics", "bad", ""))
	}
	if len(*asked) != 4 {
		t.Errorf("a wrong token was remembered: %q; one that is made a moment later would be refused", *asked)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	m := map[int]answer[bool]{}
	for i := range 10 * answersKept {
		m = room(m)
		m[i] = answer[bool]{}
	}
	if len(m) > answersKept {
		t.Errorf("%d answers are kept, want at most %d", len(m), answersKept)
	}
}
