package gitops_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func TestTheHostIsToldWhatBecameOfEachCommit(t *testing.T) {
	type status struct{ commit, state, description string }
	told := make(chan status, 100)
	var code atomic.Int32
	code.Store(http.StatusCreated)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ State, Description, Context string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Context != "gitopsd/gitopsd-system/shop" || r.Header.Get("Authorization") != "token abc" {
			t.Errorf("%v: %+v, %s", err, body, r.Header)
		}
		if c := int(code.Load()); c != http.StatusCreated {
			w.WriteHeader(c)
			return
		}
		told <- status{r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], body.State, body.Description}
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(host.Close)
	await := func(commit, state, text string) {
		t.Helper()
		late := time.After(20 * time.Second)
		for {
			select {
			case s := <-told:
				if s.commit == commit && s.state == state && strings.Contains(s.description, text) {
					return
				}
			case <-late:
				t.Fatalf("the host was not told %s of %s with %q", state, commit, text)
			}
		}
	}
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.CommitStatus = &v1alpha1.CommitStatus{Provider: v1alpha1.Gitea, URL: host.URL, SecretRef: corev1.LocalObjectReference{Name: "token"}}
	})
	good := b.push(shop("web:1"))
	b.applied(good)
	b.eventually("CommitStatusFailed", "Secret gitopsd-system/token")
	if _, err := b.kube.CoreV1().Secrets("gitopsd-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token"}, StringData: map[string]string{"token": "abc"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	await(good, "success", "3 objects")
	next := b.push(shop("web:2"))
	await(next, "pending", "not healthy yet")
	b.settle()
	await(next, "success", "")
	bad := b.push(map[string]string{"deploy/web.yaml": "kind: [\n"})
	await(bad, "failure", "web.yaml")

	// A host that is down for a while is told when it is back.
	code.Store(http.StatusServiceUnavailable)
	fixed := b.push(shop("web:3"))
	b.applied(fixed)
	b.settle()
	code.Store(http.StatusCreated)
	await(fixed, "success", "")
}
