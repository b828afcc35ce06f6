package ttlafterfinished

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const workers = 4

// Controller is the controller of finished Jobs.
type Controller struct {
	client kubernetes.Interface
	jobs   batchlisters.JobLister
	synced cache.InformerSynced
	loop   *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory) *Controller {
	inf := f.Batch().V1().Jobs()
	c := &Controller{client: client, jobs: inf.Lister()}
	c.loop = reconcile.New("ttlafterfinished", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), c.loop.Handler())
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	job, err := c.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	v, err := Decide(job, time.Now())
	if err != nil {
		// Trying again changes nothing; the next change of the Job may.
		slog.Warn("a Job is kept although it asks not to be", "err", err)
		return reconcile.Result{}, nil
	}
	if !v.Delete {
		return reconcile.Result{After: v.Recheck}, nil
	}
	slog.Info("removing a finished Job", "job", key.String(), "because", v.Reason)
	// The version makes sure that nobody has given it a longer life meanwhile.
	err = c.client.BatchV1().Jobs(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationForeground),
		Preconditions:     &metav1.Preconditions{UID: &job.UID, ResourceVersion: &job.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("removing Job %s, which is %s: %w", key, v.Reason, err)
	}
	return reconcile.Result{}, nil
}
