package bootstraptokens

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const tokenType corev1.SecretType = "bootstrap.kubernetes.io/token"

// expirationKey holds the time after which a token is refused, as RFC 3339 has it.
const expirationKey = "expiration"

// Left is how long the token still has; ok is false for a Secret that never expires.
func Left(s *corev1.Secret, now time.Time) (left time.Duration, ok bool) {
	if s.Type != tokenType || s.Namespace != metav1.NamespaceSystem {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, string(s.Data[expirationKey]))
	if err != nil {
		return 0, false
	}
	return at.Sub(now), true
}

// Controller is the controller of expired join tokens.
type Controller struct {
	client  kubernetes.Interface
	secrets corelisters.SecretLister
	synced  cache.InformerSynced
	loop    *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory) *Controller {
	inf := f.Core().V1().Secrets()
	c := &Controller{client: client, secrets: inf.Lister()}
	c.loop = reconcile.New("bootstraptokens", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
		if s, ok := obj.(*corev1.Secret); ok && s.Type == tokenType {
			return []reconcile.Key{{Namespace: s.Namespace, Name: s.Name}}
		}
		return nil
	}))
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) {
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, err := c.secrets.Secrets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	left, ok := Left(s, time.Now())
	if !ok {
		return reconcile.Result{}, nil
	}
	if left > 0 {
		return reconcile.Result{After: left}, nil
	}
	// The resourceVersion too: somebody may have prolonged the token a moment ago.
	err = c.client.CoreV1().Secrets(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("deleting Secret %s, an expired join token: %w", key, err)
	}
	return reconcile.Result{}, nil
}
