package accounttokens

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// Sign makes the token of an account that lives as long as the named Secret.
type Sign func(account *corev1.ServiceAccount, secret string) (string, error)

// byAccount indexes token Secrets by namespace/account.
const byAccount = "gitopsd-token-account"

// Controller is the controller of token Secrets.
type Controller struct {
	client   kubernetes.Interface
	ca       []byte
	sign     Sign
	secrets  corelisters.SecretLister
	accounts corelisters.ServiceAccountLister
	synced   []cache.InformerSynced
	loop     *reconcile.Loop
}

// New makes the controller; ca is the PEM bundle that verifies the API server.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, ca []byte, sign Sign) (*Controller, error) {
	secrets, accounts := f.Core().V1().Secrets(), f.Core().V1().ServiceAccounts()
	c := &Controller{client: client, ca: ca, sign: sign, secrets: secrets.Lister(), accounts: accounts.Lister()}
	if err := secrets.Informer().AddIndexers(cache.Indexers{byAccount: func(obj any) ([]string, error) {
		if s, ok := obj.(*corev1.Secret); ok && s.Type == corev1.SecretTypeServiceAccountToken {
			return []string{s.Namespace + "/" + s.Annotations[corev1.ServiceAccountNameKey]}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("index of token Secrets: %w", err)
	}
	c.loop = reconcile.New("accounttokens", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(secrets.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			if s, ok := obj.(*corev1.Secret); ok && s.Type == corev1.SecretTypeServiceAccountToken {
				return []reconcile.Key{{Namespace: s.Namespace, Name: s.Name}}
			}
			return nil
		})),
		reconcile.Listen(accounts.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			a, ok := obj.(*corev1.ServiceAccount)
			if !ok {
				return nil
			}
			found, err := secrets.Informer().GetIndexer().ByIndex(byAccount, a.Namespace+"/"+a.Name)
			if err != nil {
				return nil
			}
			var keys []reconcile.Key
			for _, s := range found {
				keys = append(keys, reconcile.Key{Namespace: a.Namespace, Name: s.(*corev1.Secret).Name})
			}
			return keys
		})),
	}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
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
	account, err := c.account(ctx, s)
	if err != nil {
		return reconcile.Result{}, err
	}
	switch Decide(s, account, c.ca) {
	case Delete:
		err := c.client.CoreV1().Secrets(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("deleting Secret %s, the token of a ServiceAccount that is gone: %w", key, err)
		}
	case Fill:
		return reconcile.Result{}, c.fill(ctx, s.DeepCopy(), account)
	case Nothing:
	}
	return reconcile.Result{}, nil
}

// account asks the server itself when the cache has none: the Secret may have been seen before its account.
func (c *Controller) account(ctx context.Context, s *corev1.Secret) (*corev1.ServiceAccount, error) {
	name := s.Annotations[corev1.ServiceAccountNameKey]
	account, err := c.accounts.ServiceAccounts(s.Namespace).Get(name)
	if apierrors.IsNotFound(err) && name != "" {
		account, err = c.client.CoreV1().ServiceAccounts(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return account, err
}

func (c *Controller) fill(ctx context.Context, s *corev1.Secret, account *corev1.ServiceAccount) error {
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	s.Data[corev1.ServiceAccountRootCAKey], s.Data[corev1.ServiceAccountNamespaceKey] = c.ca, []byte(s.Namespace)
	if len(s.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := c.sign(account, s.Name)
		if err != nil {
			return fmt.Errorf("token of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
		}
		s.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	if _, err := c.client.CoreV1().Secrets(s.Namespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("filling Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}
