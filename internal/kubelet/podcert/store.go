package podcert

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	certinformers "k8s.io/client-go/informers/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// Source is one podCertificate source of a Pod's volume.
type Source struct {
	Pod    *v1.Pod
	Volume string
	Index  int // among the volume's sources
	*v1.PodCertificateProjection
}

func (s Source) key() key { return key{s.Pod.UID, s.Volume, s.Index} }

type key struct {
	pod    types.UID
	volume string
	index  int
}

// Store gets and renews the credentials of a node's Pods.
type Store struct {
	Client   kubernetes.Interface
	Recorder record.EventRecorder
	// Node is this node, as the API has it; nil while it is not known.
	Node func() *v1.Node
	// NodeName limits the watch of requests.
	NodeName string
	// Informers are the node's; the watch of requests is added to them when it is first needed.
	Informers informers.SharedInformerFactory
	// Until ends the watch.
	Until context.Context
	// Answered is told that a request of a Pod was answered, or deleted.
	Answered func(pod types.UID)

	once     sync.Once
	requests cache.SharedIndexInformer
	failed   error

	mu      sync.Mutex
	sources map[key]*source
}

// source is what is known of a volume's source. Its lock is held while the API is asked for it, so that nobody asks twice.
type source struct {
	mu      sync.Mutex
	state   state
	changed chan struct{} // closed and replaced when its request changed
}

// patience bounds the wait for a signer while a Pod is set up. Signers that are programs answer well before; for others the Pod says why it waits, and is
// set up again at the answer.
const patience = 5 * time.Second

// Credential gives what the volume is to hold, and asks for it, or for its renewal, as need be. had is what the volume holds now. Before the first
// certificate it waits for one for a while, then says what is waited for.
func (s *Store) Credential(ctx context.Context, src Source, had Credential) (Credential, error) {
	s.once.Do(s.watch)
	if s.failed != nil {
		return Credential{}, s.failed
	}
	e := s.source(src.key())
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		h, name, changed, err := s.advance(ctx, e, src, had)
		if h != nil {
			if err != nil {
				slog.Warn("a Pod's certificate could not be renewed; it is tried again", "pod", src.Pod.Namespace+"/"+src.Pod.Name, "volume", src.Volume, "expires", h.expires, "err", err)
			}
			return h.Credential, nil
		}
		if err != nil {
			return Credential{}, err
		}
		select {
		case <-changed:
		case <-limit.Done():
			return Credential{}, fmt.Errorf("signer %s has not answered PodCertificateRequest %s/%s yet; see `kubectl describe podcertificaterequest -n %s %s`",
				src.SignerName, src.Pod.Namespace, name, src.Pod.Namespace, name)
		}
	}
}

// Forget drops what is known of a Pod that is gone; its requests go with it, since it owns them.
func (s *Store) Forget(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.sources {
		if k.pod == pod {
			delete(s.sources, k)
		}
	}
}

func (s *Store) source(k key) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources == nil {
		s.sources = map[key]*source{}
	}
	e := s.sources[k]
	if e == nil {
		e = &source{changed: make(chan struct{})}
		s.sources[k] = e
	}
	return e
}

// advance does what is due for a source. It gives what is held, the name of the request that is waited for, and a channel that is closed when that changed.
func (s *Store) advance(ctx context.Context, e *source, src Source, had Credential) (*held, string, <-chan struct{}, error) {
	s.mu.Lock()
	changed := e.changed // before the request is looked at, so that no change is missed
	s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.state.held == nil && e.state.pending == nil {
		e.state.held = adopted(had, now)
	}
	var err error
	request := s.seen(src.Pod.Namespace, e.state.pending)
	switch decide(e.state, request, now) {
	case ask:
		e.state.pending, err = s.ask(ctx, src)
	case take:
		var h *held
		if h, err = issued(e.state.pending.key, request); err == nil {
			e.state.held = h
		} else {
			e.state.refused = err.Error()
			s.Recorder.Event(src.Pod, v1.EventTypeWarning, "PodCertificateUnusable", err.Error())
		}
		e.state.pending = nil
	case stop:
		e.state.refused, e.state.pending = refusal(request), nil
		s.Recorder.Event(src.Pod, v1.EventTypeWarning, "PodCertificateRefused", e.state.refused)
	case look:
		_, got := s.Client.CertificatesV1().PodCertificateRequests(src.Pod.Namespace).Get(ctx, e.state.pending.name, metav1.GetOptions{})
		if apierrors.IsNotFound(got) {
			e.state.pending, err = s.ask(ctx, src)
		}
	}
	if err == nil && e.state.refused != "" {
		err = refused(e.state.refused)
	}
	name := ""
	if e.state.pending != nil {
		name = e.state.pending.name
	}
	return e.state.held, name, changed, err
}

// refused is a signer's refusal as an answer of the API: asking again would not help.
func refused(why string) error {
	err := apierrors.NewForbidden(certificatesv1.Resource("podcertificaterequests"), "", nil)
	err.ErrStatus.Message = why + "; change what the Pod asks for, and create it anew"
	return err
}

// ask makes a key and a request for it. The request belongs to the Pod, so it is removed with it.
func (s *Store) ask(ctx context.Context, src Source) (*pending, error) {
	node := s.Node()
	if node == nil {
		return nil, fmt.Errorf("the API server has not told of this node, %s, yet", s.NodeName)
	}
	name := src.Pod.Spec.ServiceAccountName
	account, err := s.Client.CoreV1().ServiceAccounts(src.Pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading ServiceAccount %s/%s: %w", src.Pod.Namespace, name, err)
	}
	key, proof, err := newKey(src.KeyType)
	if err != nil {
		return nil, err
	}
	made, err := s.Client.CertificatesV1().PodCertificateRequests(src.Pod.Namespace).Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: src.Pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: src.Pod.Name, UID: src.Pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: src.SignerName, PodName: src.Pod.Name, PodUID: src.Pod.UID, ServiceAccountName: name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID, MaxExpirationSeconds: src.MaxExpirationSeconds,
			StubPKCS10Request: proof, UnverifiedUserAnnotations: src.UserAnnotations,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("asking signer %s for a certificate: %w", src.SignerName, err)
	}
	return &pending{name: made.Name, key: key, asked: time.Now()}, nil
}

// seen gives a pending request as the watch has it.
func (s *Store) seen(namespace string, p *pending) *certificatesv1.PodCertificateRequest {
	if p == nil {
		return nil
	}
	obj, ok, err := s.requests.GetStore().GetByKey(namespace + "/" + p.name)
	if err != nil || !ok {
		return nil
	}
	return obj.(*certificatesv1.PodCertificateRequest)
}

// watch follows the requests of this node.
func (s *Store) watch() {
	own := fields.OneTermEqualSelector("spec.nodeName", s.NodeName).String()
	s.requests = s.Informers.InformerFor(&certificatesv1.PodCertificateRequest{}, func(c kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return certinformers.NewFilteredPodCertificateRequestInformer(c, "", resync, cache.Indexers{}, func(o *metav1.ListOptions) { o.FieldSelector = own })
	})
	_, err := s.requests.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.heard(obj, false) },
		UpdateFunc: func(_, obj any) { s.heard(obj, false) },
		DeleteFunc: func(obj any) { s.heard(obj, true) },
	})
	if err != nil {
		s.failed = fmt.Errorf("watching PodCertificateRequests: %w", err)
		return
	}
	s.Informers.Start(s.Until.Done())
}

// heard takes in that a request changed.
func (s *Store) heard(obj any, deleted bool) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	r, ok := obj.(*certificatesv1.PodCertificateRequest)
	if !ok || !deleted && len(r.Status.Conditions) == 0 {
		return
	}
	s.mu.Lock()
	found := map[*source]bool{}
	for k, e := range s.sources {
		if k.pod == r.Spec.PodUID {
			found[e] = true
		}
	}
	s.mu.Unlock()
	if deleted {
		for e := range found {
			e.mu.Lock()
			if e.state.pending != nil && e.state.pending.name == r.Name {
				e.state.pending = nil // asked for again
			}
			e.mu.Unlock()
		}
	}
	s.mu.Lock()
	for e := range found {
		close(e.changed)
		e.changed = make(chan struct{})
	}
	s.mu.Unlock()
	if len(found) > 0 {
		s.Answered(r.Spec.PodUID)
	}
}
