package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
)

// listenDevices registers for everything that claims of devices depend on.
func (s *Scheduler) listenDevices(f informers.SharedInformerFactory) []cache.InformerSynced {
	r := f.Resource().V1()
	return []cache.InformerSynced{
		listenFor(s, plugins.Devices, r.ResourceClaims().Informer(),
			func(c *resourcev1.ResourceClaim) { s.snap.SetDeviceClaim(c) }, func(c *resourcev1.ResourceClaim) { s.snap.RemoveDeviceClaim(c.Namespace + "/" + c.Name) }),
		listenFor(s, plugins.Devices, r.ResourceSlices().Informer(),
			func(o *resourcev1.ResourceSlice) { s.snap.SetSlice(o) }, func(o *resourcev1.ResourceSlice) { s.snap.RemoveSlice(o.Name) }),
		listenFor(s, plugins.Devices, r.DeviceClasses().Informer(),
			func(c *resourcev1.DeviceClass) { s.snap.SetDeviceClass(c) }, func(c *resourcev1.DeviceClass) { s.snap.RemoveDeviceClass(c.Name) }),
	}
}

// keepDevices keeps what was chosen for a Pod from others. s.mu is held.
func (s *Scheduler) keepDevices(grants []plugins.DeviceGrant) {
	for _, g := range grants {
		if g.Allocation != nil {
			s.snap.Allocate(g.Claim.Namespace+"/"+g.Claim.Name, g.Allocation)
		}
	}
}

// writeDevices says in a Pod's claims which devices they have, and that the Pod uses them.
func (s *Scheduler) writeDevices(ctx context.Context, pod *corev1.Pod, grants []plugins.DeviceGrant) error {
	for _, g := range grants {
		if err := s.grant(ctx, pod, g); err != nil {
			return err
		}
	}
	return nil
}

// devicesRefused takes a Pod off its node whose devices could not be written; it is looked at again. w is its waiting for volumes, nil for none.
func (s *Scheduler) devicesRefused(ctx context.Context, e *queue.Entry, pod *corev1.Pod, node string, grants []plugins.DeviceGrant, w *volumePod, err error) {
	if ctx.Err() != nil {
		return
	}
	slog.Warn("a Pod's devices could not be allocated, it will be looked at again", "pod", pod.Namespace+"/"+pod.Name, "node", node, "err", err)
	s.events.Eventf(pod, corev1.EventTypeWarning, "FailedScheduling", "Devices for %s: %v", node, err)
	s.mu.Lock()
	for _, g := range grants {
		s.snap.Deallocate(g.Claim.Namespace+"/"+g.Claim.Name, g.Allocation) // what was written is in the claim itself by now
	}
	placed := true // unless its volumes were given up meanwhile
	if w != nil {
		// The waiting ends before the Pod is looked at again: then it may wait anew, for the same volumes.
		if placed = s.forget(w); placed {
			s.release(w)
		}
	}
	s.mu.Unlock()
	if placed {
		s.undo(e, pod.UID, pod)
	}
}

// freeDevices takes devices back that a Pod without a node holds for nothing, and lets it be looked at again.
func (s *Scheduler) freeDevices(ctx context.Context, pod *corev1.Pod, claims []*resourcev1.ResourceClaim) {
	if len(claims) == 0 {
		return
	}
	err := func() error {
		// A binding of unknown outcome may have reached the API server after all.
		live, err := s.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if live.UID != pod.UID || live.Spec.NodeName != "" {
			return nil
		}
		for _, claim := range claims {
			if err := s.free(ctx, pod, claim); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("ResourceClaim %s/%s: %w", claim.Namespace, claim.Name, err)
			}
		}
		return nil
	}()
	if apierrors.IsNotFound(err) || ctx.Err() != nil {
		return // of a Pod that is gone the claims are given back without the scheduler
	}
	if err != nil {
		slog.Warn("devices that a Pod holds for nothing could not be taken back, it will be looked at again", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Activate(pod.UID, time.Now())
	s.signal()
}

// free takes the devices of one claim back, unless somebody has begun to use them or it has been done.
func (s *Scheduler) free(ctx context.Context, pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	api, uid, first := s.client.ResourceV1().ResourceClaims(claim.Namespace), claim.UID, true
	again := func(err error) bool { return ctx.Err() == nil && (apierrors.IsConflict(err) || !ledger.Refused(err)) }
	return retry.OnError(retry.DefaultBackoff, again, func() error {
		if !first {
			live, err := api.Get(ctx, claim.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			claim = live
		}
		first = false
		if claim.UID != uid || !plugins.Idle(claim, pod) {
			return nil
		}
		freed := claim.DeepCopy()
		freed.Status.Allocation, freed.Status.Devices, freed.Status.ReservedFor = nil, nil, nil
		written, err := api.UpdateStatus(ctx, freed, metav1.UpdateOptions{FieldManager: fieldManager})
		if err != nil {
			return err
		}
		slog.Debug("devices were taken back that a waiting Pod held for nothing", "claim", claim.Namespace+"/"+claim.Name, "pod", pod.Namespace+"/"+pod.Name)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snap.WroteDeviceClaim(written)
		return nil
	})
}

// unusable says why a claim is not what it was when the Pod's node was chosen.
type unusable string

func (u unusable) Error() string { return string(u) }

// grant writes one claim. What others wrote of it meanwhile is read again; devices are only written into a claim that has none. A call of unknown outcome is sent
// again: while the claim may have its devices, they must not be given to another Pod.
func (s *Scheduler) grant(ctx context.Context, pod *corev1.Pod, g plugins.DeviceGrant) error {
	api, claim := s.client.ResourceV1().ResourceClaims(g.Claim.Namespace), g.Claim
	about := fmt.Sprintf("ResourceClaim %s/%s", claim.Namespace, claim.Name)
	first := true
	again := func(err error) bool {
		var u unusable
		return ctx.Err() == nil && !errors.As(err, &u) && (apierrors.IsConflict(err) || !ledger.Refused(err))
	}
	return retry.OnError(retry.DefaultBackoff, again, func() error {
		if !first {
			live, err := api.Get(ctx, g.Claim.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("%s: %w", about, err)
			}
			claim = live
		}
		first = false
		switch {
		case claim.UID != g.Claim.UID || claim.DeletionTimestamp != nil:
			return unusable(about + " has been deleted meanwhile")
		case g.Allocation == nil && claim.Status.Allocation == nil:
			return unusable(about + " has no devices any more")
		case g.Allocation != nil && claim.Status.Allocation != nil && !equality.Semantic.DeepEqual(g.Allocation, claim.Status.Allocation): // equal after a lost answer
			return unusable(about + " has been given devices meanwhile")
		case !resourceclaim.IsReservedForPod(pod, claim, false) && !resourceclaim.CanBeReserved(claim):
			return unusable(about + " is in use by as many Pods as can be")
		}
		claim = claim.DeepCopy()
		if g.Allocation != nil && !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
			// Before there is anything that a deletion would have to wait for.
			claim.Finalizers = append(claim.Finalizers, resourcev1.Finalizer)
			var err error
			if claim, err = api.Update(ctx, claim, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
				return err
			}
		}
		if g.Allocation != nil {
			claim.Status.Allocation = g.Allocation
		}
		if !resourceclaim.IsReservedForPod(pod, claim, false) {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		}
		written, err := api.UpdateStatus(ctx, claim, metav1.UpdateOptions{FieldManager: fieldManager})
		if err == nil {
			s.mu.Lock()
			s.snap.WroteDeviceClaim(written)
			s.mu.Unlock()
		}
		return err
	})
}
