package volumebinding

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/latetest"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// world is an API server whose watches are late, and people who make and delete claims and volumes as the seed has it.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	client  *latetest.Client
	version int
	made    int
	claims  *latetest.Kind[*corev1.PersistentVolumeClaim]
	volumes *latetest.Kind[*corev1.PersistentVolume]
	control *Controller
	lives   int // calls after which the controller dies; below 0 for never
}

var errDead = errors.New("the process has ended")

func newWorld(t *testing.T, client *latetest.Client, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), client: client,
		claims: latetest.NewKind[*corev1.PersistentVolumeClaim](t), volumes: latetest.NewKind[*corev1.PersistentVolume](t),
	}
	if err := w.volumes.Cache.AddIndexers(cache.Indexers{"claim": index.VolumeKeys}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) next() int {
	w.version++
	return w.version
}

// controller starts one. What an earlier one remembered is lost, and the caches are read anew.
func (w *world) controller(lives int) {
	w.lives = lives
	w.claims.Relist(w.version)
	w.volumes.Relist(w.version)
	w.client.AnsweredBy(func(a clienttesting.Action) (runtime.Object, error) {
		if w.lives == 0 {
			return nil, errDead
		}
		if w.lives > 0 {
			w.lives--
		}
		return latetest.Sometimes(w.rand, w.carryOut)(a)
	})
	w.control = &Controller{
		client: w.client, events: &record.FakeRecorder{}, claims: corelisters.NewPersistentVolumeClaimLister(w.claims.Cache), volumes: w.volumes.Cache,
		classes: storagelisters.NewStorageClassLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})), told: map[types.UID]Event{}, chosen: map[string]types.UID{},
	}
	w.control.loop = reconcile.New("volumebinding", w.control.reconcile)
}

// carryOut does what the API server does, which keeps a status and the rest of an object apart.
func (w *world) carryOut(a clienttesting.Action) (runtime.Object, error) {
	update, ok := a.(clienttesting.UpdateActionImpl)
	switch a.GetResource().Resource {
	case "persistentvolumes":
		if ok {
			next := update.Object.DeepCopyObject().(*corev1.PersistentVolume)
			if was := w.volumes.Real[next.Name]; was != nil {
				if a.GetSubresource() == "status" {
					status := next.Status
					version := next.ResourceVersion
					next = was.DeepCopy()
					next.Status, next.ResourceVersion = status, version
				} else {
					next.Status = was.Status
				}
			}
			w.judge(next)
			update.Object = next
			a = update
		}
		obj, err := w.volumes.Serve(a, w.next)
		if v, isVolume := obj.(*corev1.PersistentVolume); err == nil && isVolume && v.DeletionTimestamp != nil && len(v.Finalizers) == 0 {
			w.volumes.Remove(w.next(), v.Name)
		}
		return obj, err
	case "persistentvolumeclaims":
		if ok {
			next := update.Object.DeepCopyObject().(*corev1.PersistentVolumeClaim)
			if was := w.claims.Real[next.Name]; was != nil {
				if a.GetSubresource() == "status" {
					status := next.Status
					version := next.ResourceVersion
					next = was.DeepCopy()
					next.Status, next.ResourceVersion = status, version
				} else {
					next.Status = was.Status
					if was.Spec.VolumeName != "" && was.Spec.VolumeName != next.Spec.VolumeName && was.ResourceVersion == next.ResourceVersion {
						w.t.Errorf("claim %s has volume %s and is given %s", was.Name, was.Spec.VolumeName, next.Spec.VolumeName)
					}
				}
			}
			update.Object = next
			a = update
		}
		return w.claims.Serve(a, w.next)
	}
	return nil, fmt.Errorf("unexpected call: %v", a)
}

// judge looks at a volume that is about to be written: none whose data a claim has may be given up or given to another.
func (w *world) judge(next *corev1.PersistentVolume) {
	was := w.volumes.Real[next.Name]
	if was == nil || was.ResourceVersion != next.ResourceVersion {
		return // it will be refused
	}
	for _, c := range w.claims.Real {
		if c.Spec.VolumeName != "" && c.Spec.VolumeName != next.Name || was.Spec.ClaimRef == nil || was.Spec.ClaimRef.UID != c.UID {
			continue
		}
		if next.Spec.ClaimRef == nil || next.Spec.ClaimRef.UID != c.UID || next.Status.Phase == corev1.VolumeReleased || next.Status.Phase == corev1.VolumeFailed || len(next.Finalizers) < len(was.Finalizers) {
			w.t.Errorf("claim %s has, or is about to get, volume %s, which becomes %s%s with %v", c.Name, next.Name, next.Status.Phase, reference(next), next.Finalizers)
		}
	}
}

// meddle is what people do.
func (w *world) meddle() {
	pick := func(names []string) string { return names[w.rand.IntN(len(names))] }
	switch w.rand.IntN(10) {
	case 8, 9: // the scheduler chooses
		for _, claim := range slices.Sorted(maps.Keys(w.claims.Real)) {
			for _, name := range slices.Sorted(maps.Keys(w.volumes.Real)) {
				c, v := w.claims.Real[claim], w.volumes.Real[name]
				if c.Spec.VolumeName == "" && v.Spec.ClaimRef == nil && v.Status.Phase == corev1.VolumeAvailable && v.DeletionTimestamp == nil {
					if next, _, err := volume.GetBindVolumeToClaim(v, c); err == nil {
						w.volumes.Put(w.next(), next)
					}
					return
				}
			}
		}
	case 0, 1, 2:
		name := fmt.Sprintf("c%d", w.rand.IntN(4))
		if w.claims.Real[name] != nil {
			return
		}
		w.made++
		c := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, w.made))},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: modes(""), Resources: corev1.VolumeResourceRequirements{Requests: storage("1Gi")}, StorageClassName: ptr.To(""), VolumeMode: volumeMode(""),
			},
		}
		if w.rand.IntN(4) == 0 {
			c.Spec.VolumeName = fmt.Sprintf("v%d", w.rand.IntN(w.made+1))
		}
		w.claims.Put(w.next(), c)
	case 3, 4, 5:
		if len(w.volumes.Real) > 5 {
			return
		}
		w.made++
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("v%d", w.made), UID: types.UID(fmt.Sprintf("v%d", w.made)), Finalizers: []string{Protection}},
			Spec:       corev1.PersistentVolumeSpec{Capacity: storage("2Gi"), AccessModes: modes(""), VolumeMode: volumeMode(""), PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain},
		}
		w.volumes.Put(w.next(), v)
	case 6:
		if names := slices.Sorted(maps.Keys(w.claims.Real)); len(names) > 0 {
			w.claims.Remove(w.next(), pick(names))
		}
	case 7:
		if names := slices.Sorted(maps.Keys(w.volumes.Real)); len(names) > 0 {
			v := w.volumes.Real[pick(names)].DeepCopy()
			if v.Status.Phase == corev1.VolumeReleased && v.DeletionTimestamp == nil {
				v.DeletionTimestamp = ptr.To(metav1.Now())
				w.volumes.Put(w.next(), v)
			}
		}
	}
}

// look has the controller look at something, and says whether that went well.
func (w *world) look(keys []reconcile.Key) bool {
	ok := true
	for _, k := range keys {
		if _, err := w.control.reconcile(w.t.Context(), k); err != nil {
			if !apierrors.IsConflict(err) && !apierrors.IsTimeout(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) && !errors.Is(err, errDead) {
				w.t.Error(err)
			}
			ok = false
		}
	}
	return ok
}

func (w *world) keys() (keys []reconcile.Key) {
	for _, name := range slices.Sorted(maps.Keys(w.claims.Real)) {
		keys = append(keys, reconcile.Key{Namespace: "shop", Name: name})
	}
	for _, name := range slices.Sorted(maps.Keys(w.volumes.Real)) {
		keys = append(keys, reconcile.Key{Name: name})
	}
	return keys
}

// TestLateWatchesBindNothingTwice has the caches lag, calls fail and the controller die, and looks at every write, and at what is left in the end.
func TestLateWatchesBindNothingTwice(t *testing.T) {
	client := latetest.NewClient()
	bound := 0
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, client, seed)
			w.controller(-1)
			for range 150 {
				switch w.rand.IntN(6) {
				case 0:
					w.meddle()
				case 1:
					w.claims.Deliver()
				case 2:
					w.volumes.Deliver()
				case 3:
					if w.rand.IntN(20) == 0 {
						w.controller(w.rand.IntN(3))
						w.look(w.keys())
						w.controller(-1)
					}
				default:
					if keys := w.keys(); len(keys) > 0 {
						w.look([]reconcile.Key{keys[w.rand.IntN(len(keys))]})
					}
				}
			}
			for round := 0; ; round++ {
				if round > 60 {
					t.Fatal("it does not come to rest")
				}
				before := w.version
				w.claims.Relist(w.version)
				w.volumes.Relist(w.version)
				if w.look(w.keys()) && w.version == before {
					break
				}
			}
			bound += w.rest()
		})
	}
	if bound < 100 {
		t.Errorf("only %d claims were bound: the test looks at too little", bound)
	}
}

// rest checks what is true in the end, and counts the pairs.
func (w *world) rest() (bound int) {
	free := 0
	for _, v := range w.volumes.Real {
		ref := v.Spec.ClaimRef
		switch {
		case v.Status.Phase == corev1.VolumeAvailable && ref == nil && v.DeletionTimestamp == nil:
			free++
		case v.Status.Phase == corev1.VolumeBound:
			if c := w.claims.Real[ref.Name]; c == nil || c.UID != ref.UID || c.Spec.VolumeName != v.Name {
				w.t.Errorf("volume %s is bound to %s, which does not have it", v.Name, ref.Name)
			}
		}
	}
	for _, c := range w.claims.Real {
		switch c.Status.Phase {
		case corev1.ClaimBound:
			bound++
			if v := w.volumes.Real[c.Spec.VolumeName]; v == nil || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID || v.Status.Phase != corev1.VolumeBound {
				w.t.Errorf("claim %s is bound to %s, which is %+v", c.Name, c.Spec.VolumeName, v)
			}
		case corev1.ClaimPending:
			if c.Spec.VolumeName == "" && free > 0 {
				w.t.Errorf("claim %s has no volume although %d are free", c.Name, free)
			}
		default:
			w.t.Errorf("claim %s is %q", c.Name, c.Status.Phase)
		}
	}
	return bound
}
