package ingresscertificate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-ingresscertificate"

// Reasons of Events at Ingresses.
const (
	reasonFailed = "CertificateFailed"
	reasonMade   = "CertificateIssued"
)

// workers are how many certificates are ordered at once.
const workers = 4

// Controller is the controller of certificates that Ingresses ask for. Its keys name Secrets.
type Controller struct {
	cfg       Config
	client    kubernetes.Interface
	acme      *acmez.Client
	events    record.EventRecorder
	classes   networkinglisters.IngressClassLister
	ingresses networkinglisters.IngressLister
	secrets   corelisters.SecretLister
	synced    []cache.InformerSynced
	loop      *reconcile.Loop

	accountMu sync.Mutex
	known     acme.Account

	mu sync.Mutex
	// tries are those that failed, and complaints what was told: once is enough. A control plane that is started again tries, and tells, once more.
	tries      map[reconcile.Key]try
	complaints map[reconcile.Key]string
}

// try is what became of the last attempts for the same hosts. One that got a certificate counts, too: by a clock that is wrong it may have ended, or somebody deletes its Secret again
// and again, and orders would follow each other.
type try struct {
	hosts    []string
	attempts int
	next     time.Time
	// data is a certificate that could not be kept. The authority gives no more than a few for the same hosts.
	data map[string][]byte
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, cfg Config) *Controller {
	classes, ingresses, secrets := f.Networking().V1().IngressClasses(), f.Networking().V1().Ingresses(), f.Core().V1().Secrets()
	c := &Controller{
		cfg: cfg, client: client, acme: cfg.client(), events: events, classes: classes.Lister(), ingresses: ingresses.Lister(), secrets: secrets.Lister(),
		tries: map[reconcile.Key]try{}, complaints: map[reconcile.Key]string{},
	}
	c.loop = reconcile.New("ingresscertificate", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(ingresses.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			ing, _ := obj.(*networkingv1.Ingress)
			return asked(ing)
		})),
		// A class decides whose Ingresses are ours.
		reconcile.Listen(classes.Informer(), c.loop.HandlerFor(func(any) []reconcile.Key {
			all, err := c.ingresses.List(labels.Everything())
			if err != nil {
				return nil // an informer's lister never fails
			}
			var keys []reconcile.Key
			for _, ing := range all {
				keys = append(keys, asked(ing)...)
			}
			return keys
		})),
		reconcile.Listen(secrets.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			if s, ok := obj.(*corev1.Secret); ok && s.Type == corev1.SecretTypeTLS {
				return []reconcile.Key{{Namespace: s.Namespace, Name: s.Name}}
			}
			return nil
		})),
	}
	return c
}

// asked are the Secrets that an Ingress asks for.
func asked(ing *networkingv1.Ingress) []reconcile.Key {
	if ing == nil || !translate.WantsACME(ing) {
		return nil
	}
	var keys []reconcile.Key
	for i := range ing.Spec.TLS {
		if name := ing.Spec.TLS[i].SecretName; name != "" {
			keys = append(keys, reconcile.Key{Namespace: ing.Namespace, Name: name})
		}
	}
	return keys
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	classes, err1 := c.classes.List(labels.Everything())
	ingresses, err2 := c.ingresses.List(labels.Everything())
	secret, err3 := c.secrets.Secrets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err3) {
		secret, err3 = nil, nil
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return reconcile.Result{}, err
	}
	directory := c.cfg.Directory
	if c.cfg.Email == "" {
		directory = ""
	}
	now := time.Now()
	w := Wanted(classes, ingresses, key.Namespace, key.Name)
	a := Decide(w, secret, directory, now)
	if a.Order != "" {
		// An order is not to be made for a Secret that was written a moment ago.
		var err error
		if secret, err = c.client.CoreV1().Secrets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			secret = nil
		} else if err != nil {
			return reconcile.Result{}, err
		}
		a = Decide(w, secret, directory, now)
	}
	if a.Order == "" {
		if a.Problem != "" {
			c.complain(key, w, a.Problem)
		} else {
			c.content(key)
		}
		if a.Again.IsZero() {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{After: max(a.Again.Sub(now), time.Second)}, nil
	}
	t := c.tried(key, w.Hosts, now)
	if wait := t.next.Sub(now); wait > 0 {
		return reconcile.Result{After: wait}, nil
	}
	var err error
	if t.data == nil {
		slog.Info("ordering a certificate", "component", "ingresscertificate", "secret", key, "hosts", w.Hosts, "because", a.Order)
		if t.data, err = c.obtain(ctx, w.Hosts); err != nil && ctx.Err() == nil {
			c.lookUpAgain()
		}
	}
	if err == nil {
		err = c.write(ctx, key, secret, w, t.data)
	}
	if ctx.Err() != nil {
		return reconcile.Result{}, nil //nolint:nilerr // another control plane goes on
	}
	t.attempts++
	wait := pause(t.attempts)
	t.next = time.Now().Add(wait)
	if err == nil {
		t.data = nil
	}
	c.note(key, t)
	if err != nil {
		c.complain(key, w, fmt.Sprintf("no certificate for %s from %s: %s; the next attempt is in %s", strings.Join(w.Hosts, ", "), c.cfg.Directory, reason(err), wait))
	}
	return reconcile.Result{After: wait}, nil
}

// write keeps a certificate in its Secret.
func (c *Controller) write(ctx context.Context, key reconcile.Key, had *corev1.Secret, w Want, data map[string][]byte) error {
	secrets := c.client.CoreV1().Secrets(key.Namespace)
	var err error
	if had == nil {
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: key.Name, Annotations: map[string]string{AnnotationDirectory: c.cfg.Directory}}, Type: corev1.SecretTypeTLS, Data: data,
		}, metav1.CreateOptions{FieldManager: fieldManager})
	} else {
		changed := had.DeepCopy()
		changed.Annotations[AnnotationDirectory], changed.Data = c.cfg.Directory, data
		_, err = secrets.Update(ctx, changed, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return fmt.Errorf("keeping the certificate in Secret %s: %w", key, err)
	}
	for _, ing := range w.Ingresses {
		c.events.Eventf(ing, corev1.EventTypeNormal, reasonMade, "the certificate for %s is in Secret %s", strings.Join(w.Hosts, ", "), key)
	}
	return nil
}

// reason is what an authority says, where it says something, without how it came.
func reason(err error) string {
	var p acme.Problem
	if !errors.As(err, &p) || p.Detail == "" {
		return err.Error()
	}
	text := p.Detail
	for _, s := range p.Subproblems {
		if s.Detail != "" {
			text += "; " + s.Identifier.Value + ": " + s.Detail
		}
	}
	return text
}

// old says that attempts are over for as long as the longest pause: they do not count any more.
func (t try) old(now time.Time) bool { return now.Sub(t.next) > pause(len(pauses)) }

func (c *Controller) tried(key reconcile.Key, hosts []string, now time.Time) try {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.tries, func(_ reconcile.Key, t try) bool { return t.old(now) })
	if t := c.tries[key]; slices.Equal(t.hosts, hosts) {
		return t
	}
	return try{hosts: hosts}
}

func (c *Controller) note(key reconcile.Key, t try) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries[key] = t
}

// content is for what is as it should be, or is not asked for any more.
func (c *Controller) content(key reconcile.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.complaints, key)
}

// complain tells who asks what is wrong, unless that was told last.
func (c *Controller) complain(key reconcile.Key, w Want, problem string) {
	c.mu.Lock()
	told := c.complaints[key]
	c.complaints[key] = problem
	c.mu.Unlock()
	if problem == told {
		return
	}
	for _, ing := range w.Ingresses {
		c.events.Event(ing, corev1.EventTypeWarning, reasonFailed, problem)
	}
}
