package podcert

import (
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
)

var requests = certificatesv1.SchemeGroupVersion.WithResource("podcertificaterequests")

// bench is a store with an API that keeps what it is given, and a signer that answers when it is told to.
type bench struct {
	t        *testing.T
	client   *fake.Clientset
	store    *Store
	events   *record.FakeRecorder
	src      Source
	answered chan types.UID
	made     chan *certificatesv1.PodCertificateRequest
}

func setup(t *testing.T) *bench {
	b := &bench{t: t, events: record.NewFakeRecorder(10), answered: make(chan types.UID, 10), made: make(chan *certificatesv1.PodCertificateRequest, 10)}
	b.client = fake.NewClientset(&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "account-uid"}})
	names := 0
	b.client.PrependReactor("create", "podcertificaterequests", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.PodCertificateRequest)
		names++
		r.Name = r.GenerateName + string(rune('0'+names)) // as the API does
		err := b.client.Tracker().Create(requests, r, r.Namespace)
		b.made <- r.DeepCopy()
		return true, r, err
	})
	// The fake API forgets what happens between a list and the watch that follows; the real one does not.
	watching := make(chan struct{})
	b.client.PrependWatchReactor("podcertificaterequests", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := b.client.Tracker().Watch(requests, a.GetNamespace())
		close(watching)
		return true, w, err
	})
	b.store = &Store{
		Client: b.client, Recorder: b.events, NodeName: "n1", Informers: informers.NewSharedInformerFactory(b.client, 0), Until: t.Context(),
		Node:     func() *v1.Node { return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-uid"}} },
		Answered: func(uid types.UID) { b.answered <- uid },
	}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "pod-uid"}, Spec: v1.PodSpec{ServiceAccountName: "web"}}
	life := int32(7200)
	b.src = Source{Pod: pod, Volume: "tls", PodCertificateProjection: &v1.PodCertificateProjection{
		SignerName: "example.com/s", KeyType: "ED25519", MaxExpirationSeconds: &life, UserAnnotations: map[string]string{"example.com/a": "b"},
	}}
	b.store.once.Do(b.store.watch)
	<-watching
	t.Cleanup(b.store.Informers.Shutdown)
	return b
}

// answer gives a request a status, and waits until the store has heard of it.
func (b *bench) answer(r *certificatesv1.PodCertificateRequest, condition string, from, renew, to time.Time) {
	b.t.Helper()
	r = r.DeepCopy()
	r.Status.Conditions = []metav1.Condition{{Type: condition, Status: "True", Reason: "Tested", Message: "so it is"}}
	if condition == certificatesv1.PodCertificateRequestConditionTypeIssued {
		r.Status.CertificateChain = string(sign(b.t, r.Spec.StubPKCS10Request, from, to))
		r.Status.BeginRefreshAt = &metav1.Time{Time: renew}
	}
	if _, err := b.client.CertificatesV1().PodCertificateRequests(r.Namespace).UpdateStatus(b.t.Context(), r, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) heard() {
	b.t.Helper()
	select {
	case uid := <-b.answered:
		if uid != "pod-uid" {
			b.t.Fatalf("told of Pod %q", uid)
		}
	case <-time.After(30 * time.Second):
		b.t.Fatal("the answer was not heard")
	}
}

func TestACertificateIsAskedForAsTheVolumeSaysAndWaitedFor(t *testing.T) {
	b := setup(t)
	go func() {
		r := <-b.made
		if got, want := r.Spec.SignerName+" "+r.Spec.PodName+" "+string(r.Spec.PodUID)+" "+r.Spec.ServiceAccountName+" "+string(r.Spec.ServiceAccountUID)+" "+string(r.Spec.NodeName)+" "+string(r.Spec.NodeUID),
			"example.com/s p pod-uid web account-uid n1 node-uid"; got != want {
			t.Errorf("asked as %s, want %s", got, want)
		}
		if *r.Spec.MaxExpirationSeconds != 7200 || r.Spec.UnverifiedUserAnnotations["example.com/a"] != "b" || r.OwnerReferences[0].UID != "pod-uid" {
			t.Errorf("asked with %v, %v, owned by %v", *r.Spec.MaxExpirationSeconds, r.Spec.UnverifiedUserAnnotations, r.OwnerReferences)
		}
		b.answer(r, "Issued", time.Now(), time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	}()
	c, err := b.store.Credential(t.Context(), b.src, Credential{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf(c); err != nil {
		t.Error(err)
	}
	again, err := b.store.Credential(t.Context(), b.src, c)
	if err != nil || string(again.Chain) != string(c.Chain) || len(b.made) > 0 {
		t.Errorf("a certificate that is young was replaced: %v", err)
	}
}

func TestACertificateIsRenewedWhenItsSignerWishes(t *testing.T) {
	b := setup(t)
	go func() {
		b.answer(<-b.made, "Issued", time.Now().Add(-time.Hour), time.Now(), time.Now().Add(time.Hour))
	}()
	first, err := b.store.Credential(t.Context(), b.src, Credential{})
	if err != nil {
		t.Fatal(err)
	}
	b.heard()
	if c, err := b.store.Credential(t.Context(), b.src, first); err != nil || string(c.Chain) != string(first.Chain) {
		t.Fatalf("while the renewal is under way the old one is not what is given: %v", err)
	}
	r := <-b.made
	b.answer(r, "Issued", time.Now(), time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	b.heard()
	c, err := b.store.Credential(t.Context(), b.src, first)
	if err != nil || string(c.Chain) == string(first.Chain) || string(c.Key) == string(first.Key) {
		t.Errorf("after the answer the key and certificate are the old ones: %v", err)
	}
}

func TestARefusalIsFinalAndTold(t *testing.T) {
	b := setup(t)
	go func() { b.answer(<-b.made, "Denied", time.Time{}, time.Time{}, time.Time{}) }()
	for range 2 {
		_, err := b.store.Credential(t.Context(), b.src, Credential{})
		if err == nil || !strings.Contains(err.Error(), "was denied by signer example.com/s: Tested: so it is") {
			t.Fatalf("got %v", err)
		}
	}
	if len(b.made) > 0 {
		t.Error("the signer was asked again")
	}
	if e := <-b.events.Events; !strings.Contains(e, "PodCertificateRefused") {
		t.Errorf("the event says %q", e)
	}
}

func TestARequestThatSomebodyDeletedIsMadeAgain(t *testing.T) {
	b := setup(t)
	go func() {
		r := <-b.made
		if err := b.client.CertificatesV1().PodCertificateRequests("shop").Delete(b.t.Context(), r.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		b.answer(<-b.made, "Issued", time.Now(), time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	}()
	if _, err := b.store.Credential(t.Context(), b.src, Credential{}); err != nil {
		t.Fatal(err)
	}
}

func TestADaemonThatStartsAgainGoesOnWithWhatTheVolumeHolds(t *testing.T) {
	b := setup(t)
	key, request, err := newKey("ECDSAP256")
	if err != nil {
		t.Fatal(err)
	}
	had := Credential{Key: key, Chain: sign(t, request, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))}
	c, err := b.store.Credential(t.Context(), b.src, had)
	if err != nil || string(c.Key) != string(key) || len(b.made) > 0 {
		t.Errorf("another credential was asked for: %v", err)
	}
}
