package csr

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	certlisters "k8s.io/client-go/listers/certificates/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-csr"

const workers = 2

// Controller is the controller of CertificateSigningRequests.
type Controller struct {
	client kubernetes.Interface
	ca     CA
	csrs   certlisters.CertificateSigningRequestLister
	nodes  corelisters.NodeLister
	synced []cache.InformerSynced
	loop   *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, ca CA) *Controller {
	csrInf, nodeInf := f.Certificates().V1().CertificateSigningRequests(), f.Core().V1().Nodes()
	c := &Controller{client: client, ca: ca, csrs: csrInf.Lister(), nodes: nodeInf.Lister()}
	c.loop = reconcile.New("csr", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(csrInf.Informer(), c.loop.Handler()),
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.addressesReported,
			UpdateFunc: func(old, obj any) {
				if was, is := old.(*corev1.Node), obj.(*corev1.Node); len(was.Status.Addresses) != len(is.Status.Addresses) {
					c.addressesReported(is)
				}
			},
		}),
	}
	return c
}

// addressesReported wakes the serving requests that wait for a Node to say which addresses it has.
func (c *Controller) addressesReported(obj any) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	all, err := c.csrs.List(labels.Everything())
	if err != nil {
		slog.Error("csr: listing from the cache failed", "err", err)
		return
	}
	for _, csr := range all {
		if csr.Spec.SignerName == certificatesv1.KubeletServingSignerName && csr.Spec.Username == nodeUserPrefix+node.Name && !finished(csr) {
			c.loop.EnqueueObject(csr)
		}
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	csr, err := c.csrs.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(Observed{CSR: csr, Now: time.Now(), Node: func(name string) *corev1.Node {
		node, err := c.nodes.Get(name)
		if err != nil {
			return nil
		}
		return node
	}})
	return reconcile.Result{After: a.Recheck}, c.act(ctx, csr.DeepCopy(), a)
}

func (c *Controller) act(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, a Actions) error {
	if a.Delete {
		err := c.client.CertificatesV1().CertificateSigningRequests().Delete(ctx, csr.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &csr.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("CertificateSigningRequest %s: deleting it after its time: %w", csr.Name, err)
		}
		return nil
	}
	if a.Verdict != nil {
		slog.Info("certificate request decided", "csr", csr.Name, "signer", csr.Spec.SignerName, "requester", csr.Spec.Username,
			"decision", a.Verdict.Type, "reason", a.Verdict.Reason, "message", a.Verdict.Message)
		next, err := c.write(ctx, csr, *a.Verdict)
		if err != nil {
			return err
		}
		csr = next
	}
	if a.Sign == nil {
		return nil
	}
	cert, err := c.ca.sign(a.Sign, csr.Spec.Usages, lifetime(csr.Spec.ExpirationSeconds), time.Now())
	if err != nil {
		return fmt.Errorf("CertificateSigningRequest %s: %w", csr.Name, err)
	}
	csr.Status.Certificate = cert
	if _, err := c.client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, csr, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("CertificateSigningRequest %s: writing its certificate: %w", csr.Name, err)
	}
	return nil
}

// write adds the condition. Approved and Denied go through the approval subresource, whose permission is a separate one; Failed is the signer's word.
func (c *Controller) write(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, v Verdict) (*certificatesv1.CertificateSigningRequest, error) {
	now := metav1.Now()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: v.Type, Status: corev1.ConditionTrue, Reason: v.Reason, Message: v.Message, LastUpdateTime: now, LastTransitionTime: now,
	})
	client := c.client.CertificatesV1().CertificateSigningRequests()
	var next *certificatesv1.CertificateSigningRequest
	var err error
	if v.Type == certificatesv1.CertificateFailed {
		next, err = client.UpdateStatus(ctx, csr, metav1.UpdateOptions{FieldManager: fieldManager})
	} else {
		next, err = client.UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return nil, fmt.Errorf("CertificateSigningRequest %s: writing %s: %w", csr.Name, v.Type, err)
	}
	return next, nil
}
