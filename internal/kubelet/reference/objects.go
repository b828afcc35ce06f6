package reference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Objects fetches through one API client.
type Objects struct {
	client kubernetes.Interface

	mu    sync.Mutex
	calls map[key]*calls
	last  map[key]*seen
}

type key struct{ kind, namespace, name string }

// calls of one key: the one under way, and the one that begins when it ends. A request never joins the one under way, which may have read
// the object before a change that the asker knows of.
type calls struct{ running, next *call }

type call struct {
	done chan struct{}
	obj  any
	err  error
}

type seen struct {
	obj  any
	used time.Time
}

// New makes Objects.
func New(c kubernetes.Interface) *Objects {
	return &Objects{client: c, calls: map[key]*calls{}, last: map[key]*seen{}}
}

// For gives the objects of one namespace; what they are needed for ends with ctx.
func (o *Objects) For(ctx context.Context, namespace string) Namespaced {
	return Namespaced{o, ctx, namespace}
}

// Namespaced are the objects of one namespace.
type Namespaced struct {
	o         *Objects
	ctx       context.Context
	namespace string
}

// ConfigMap fetches a ConfigMap.
func (n Namespaced) ConfigMap(name string) (*v1.ConfigMap, error) {
	return get(n, "configmap", name, func(ctx context.Context) (*v1.ConfigMap, error) {
		return n.o.client.CoreV1().ConfigMaps(n.namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

// Claim fetches a PersistentVolumeClaim.
func (n Namespaced) Claim(name string) (*v1.PersistentVolumeClaim, error) {
	return get(n, "claim", name, func(ctx context.Context) (*v1.PersistentVolumeClaim, error) {
		return n.o.client.CoreV1().PersistentVolumeClaims(n.namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

// PersistentVolume fetches a PersistentVolume, which belongs to no namespace.
func (n Namespaced) PersistentVolume(name string) (*v1.PersistentVolume, error) {
	return get(n.o.For(n.ctx, ""), "volume", name, func(ctx context.Context) (*v1.PersistentVolume, error) {
		return n.o.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	})
}

// RuntimeClass fetches a RuntimeClass, which belongs to no namespace.
func (o *Objects) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	return get(o.For(ctx, ""), "runtimeclass", name, func(ctx context.Context) (*nodev1.RuntimeClass, error) {
		return o.client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	})
}

// Secret fetches a Secret.
func (n Namespaced) Secret(name string) (*v1.Secret, error) {
	return get(n, "secret", name, func(ctx context.Context) (*v1.Secret, error) {
		return n.o.client.CoreV1().Secrets(n.namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

// ServiceAccount fetches a ServiceAccount.
func (n Namespaced) ServiceAccount(name string) (*v1.ServiceAccount, error) {
	return get(n, "serviceaccount", name, func(ctx context.Context) (*v1.ServiceAccount, error) {
		return n.o.client.CoreV1().ServiceAccounts(n.namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

// Away says whether an error means that the API did not answer, as opposed to that it refused.
func (Namespaced) Away(err error) bool { return away(err) }

// Token gets a token for the Pod's service account, bound to the Pod: it ends with it.
func (n Namespaced) Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, error) {
	t, _, err := n.o.Token(ctx, pod, audience, seconds)
	return t, err
}

// Token gets a token for the Pod's service account, bound to the Pod, and says until when it is good.
func (o *Objects) Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, time.Time, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	res, err := o.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, account, req, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("getting a token for service account %s/%s: %w", pod.Namespace, account, err)
	}
	return res.Status.Token, res.Status.ExpirationTimestamp.Time, nil
}

func get[T any](n Namespaced, kind, name string, fetch func(context.Context) (T, error)) (T, error) {
	k := key{kind, n.namespace, name}
	c := n.o.join(k, func(ctx context.Context) (any, error) { return fetch(ctx) })
	var none T
	select {
	case <-n.ctx.Done():
		return none, n.ctx.Err()
	case <-c.done:
	}
	if c.err == nil {
		return c.obj.(T), nil
	}
	if !away(c.err) {
		return none, c.err
	}
	n.o.mu.Lock()
	defer n.o.mu.Unlock()
	if s := n.o.last[k]; s != nil {
		s.used = time.Now()
		return s.obj.(T), nil
	}
	return none, c.err
}

// away tells apart whether anybody answered: only an answer carries a status.
func away(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err)
}

// fetchTimeout bounds one call; the asker decides whether to try again.
const fetchTimeout = 10 * time.Second

// join gives the call that will answer a request made now.
func (o *Objects) join(k key, fetch func(context.Context) (any, error)) *call {
	o.mu.Lock()
	defer o.mu.Unlock()
	cs := o.calls[k]
	if cs == nil {
		cs = &calls{}
		o.calls[k] = cs
	}
	if cs.running == nil {
		cs.running = &call{done: make(chan struct{})}
		go o.run(k, cs.running, fetch)
		return cs.running
	}
	if cs.next == nil {
		cs.next = &call{done: make(chan struct{})}
	}
	return cs.next
}

func (o *Objects) run(k key, c *call, fetch func(context.Context) (any, error)) {
	for c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		c.obj, c.err = fetch(ctx)
		cancel()
		o.mu.Lock()
		if c.err == nil {
			o.remember(k, c.obj)
		} else if apierrors.IsNotFound(c.err) {
			delete(o.last, k)
		}
		close(c.done)
		cs := o.calls[k]
		c, cs.next = cs.next, nil
		cs.running = c
		if c == nil {
			delete(o.calls, k)
		}
		o.mu.Unlock()
	}
}

// maxSeen bounds what is remembered for the time when the API is away; the least recently used go first.
const maxSeen = 256

func (o *Objects) remember(k key, obj any) {
	o.last[k] = &seen{obj, time.Now()}
	if len(o.last) <= maxSeen {
		return
	}
	var oldest key
	first := true
	for k, s := range o.last {
		if first || s.used.Before(o.last[oldest].used) {
			oldest, first = k, false
		}
	}
	delete(o.last, oldest)
}
