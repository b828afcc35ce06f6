package volumebinding

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// story is claims and volumes over time; what is decided is carried out and seen at once.
type story struct {
	t       *testing.T
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	classes []*storagev1.StorageClass
	uids    int
	told    map[string]Event
}

// TestDecide reads stories:
//
//	new             forgets all
//	class           lines "NAME [by=PROVISIONER] [waits] [default]"
//	claim           lines "NAME [size=] [class=] [modes=RWO,…] [volume=] [mode=Block] [select=K:V] [node=] [adopt] [label…] | NAME deleted | NAME gone"
//	volume          lines "NAME [size=] [class=] [modes=] [for=CLAIM[/UID]] [mode=Block] [label=K:V] [policy=] [csi] [made] | NAME deleted | NAME gone | NAME unref"
//	look            looks at everything until nothing is left to be done, and prints what was done
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			switch d.Cmd {
			case "new":
				*s = story{t: t, claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}, told: map[string]Event{}}
				return ""
			case "look":
				return s.look()
			}
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				args := map[string]string{}
				for _, a := range f[1:] {
					k, v, _ := strings.Cut(a, "=")
					args[k] = v
				}
				switch d.Cmd {
				case "class":
					s.class(f[0], args)
				case "claim":
					s.claim(f[0], args)
				case "volume":
					s.volume(f[0], args)
				default:
					t.Fatalf("unknown command %s", d.Cmd)
				}
			}
			return ""
		})
	})
}

func (s *story) class(name string, args map[string]string) {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: cmp.Or(args["by"], volume.NotSupportedProvisioner)}
	if _, ok := args["waits"]; ok {
		c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
	}
	if _, ok := args["default"]; ok {
		c.Annotations = map[string]string{pv.AnnDefaultClass: "true"}
	}
	s.classes = append(s.classes, c)
}

func modes(list string) (out []corev1.PersistentVolumeAccessMode) {
	long := map[string]corev1.PersistentVolumeAccessMode{"RWO": corev1.ReadWriteOnce, "ROX": corev1.ReadOnlyMany, "RWX": corev1.ReadWriteMany, "RWOP": corev1.ReadWriteOncePod}
	for m := range strings.SplitSeq(cmp.Or(list, "RWO"), ",") {
		out = append(out, long[m])
	}
	return out
}

func pair(s string) map[string]string {
	if s == "" {
		return nil
	}
	k, v, _ := strings.Cut(s, ":")
	return map[string]string{k: v}
}

func storage(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(cmp.Or(size, "1Gi"))}
}

func volumeMode(m string) *corev1.PersistentVolumeMode {
	return ptr.To(cmp.Or(corev1.PersistentVolumeMode(m), corev1.PersistentVolumeFilesystem))
}

func (s *story) uid() types.UID {
	s.uids++
	return types.UID(fmt.Sprintf("u%d", s.uids))
}

func (s *story) claim(name string, args map[string]string) {
	has := func(k string) bool { _, ok := args[k]; return ok }
	old := s.claims[name]
	switch {
	case has("gone"):
		delete(s.claims, name)
		return
	case has("deleted"):
		old.DeletionTimestamp = ptr.To(metav1.Now())
		return
	case old != nil:
		if has("node") {
			metav1.SetMetaDataAnnotation(&old.ObjectMeta, volume.AnnSelectedNode, args["node"])
		}
		if has("size") {
			old.Spec.Resources.Requests = storage(args["size"])
		}
		return
	}
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: s.uid()},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes(args["modes"]), Resources: corev1.VolumeResourceRequirements{Requests: storage(args["size"])}, VolumeName: args["volume"], VolumeMode: volumeMode(args["mode"]),
		},
	}
	if has("class") {
		c.Spec.StorageClassName = ptr.To(args["class"])
	}
	if has("select") {
		c.Spec.Selector = &metav1.LabelSelector{MatchLabels: pair(args["select"])}
	}
	if has("adopt") {
		c.Annotations = map[string]string{Adopt: "true"}
	}
	s.claims[name] = c
}

func (s *story) volume(name string, args map[string]string) {
	has := func(k string) bool { _, ok := args[k]; return ok }
	switch {
	case has("gone"):
		delete(s.volumes, name)
		return
	case has("deleted"):
		s.volumes[name].DeletionTimestamp = ptr.To(metav1.Now())
		return
	case has("unref"):
		s.volumes[name].Spec.ClaimRef = nil
		return
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: pair(args["label"]), Finalizers: []string{Protection}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: storage(args["size"]), AccessModes: modes(args["modes"]), StorageClassName: args["class"], VolumeMode: volumeMode(args["mode"]),
			PersistentVolumeReclaimPolicy: cmp.Or(corev1.PersistentVolumeReclaimPolicy(args["policy"]), corev1.PersistentVolumeReclaimRetain),
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumePending},
	}
	if has("csi") {
		v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com"}
	}
	if has("made") {
		v.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: "example.com/disks"}
	}
	if has("bycontroller") {
		metav1.SetMetaDataAnnotation(&v.ObjectMeta, volume.AnnBoundByController, "yes")
	}
	if has("for") {
		claim, uid, _ := strings.Cut(args["for"], "/")
		if uid == "its" {
			uid = string(s.claims[claim].UID)
		}
		v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: claim, UID: types.UID(uid)}
	}
	s.volumes[name] = v
}

// look looks at everything, in the order of names, until a whole round changes nothing.
func (s *story) look() string {
	var out strings.Builder
	for round := 0; ; round++ {
		if round > 10 {
			s.t.Fatalf("it does not come to rest:\n%s", out.String())
		}
		before := out.Len()
		for _, name := range slices.Sorted(maps.Keys(s.claims)) {
			s.carryOut(&out, "claim "+name, DecideClaim(s.observeClaim(s.claims[name])))
		}
		for _, name := range slices.Sorted(maps.Keys(s.volumes)) {
			o := ObservedVolume{Volume: s.volumes[name], Live: true}
			if ref := o.Volume.Spec.ClaimRef; ref != nil {
				o.Claim = s.claims[ref.Name]
			}
			s.carryOut(&out, "volume "+name, DecideVolume(o))
		}
		if out.Len() == before {
			return cmp.Or(out.String(), "nothing to do\n")
		}
	}
}

func (s *story) observeClaim(claim *corev1.PersistentVolumeClaim) ObservedClaim {
	o := ObservedClaim{Claim: claim, Named: s.volumes[claim.Spec.VolumeName], Default: pv.DefaultClass(s.classes), Live: true}
	for _, name := range slices.Sorted(maps.Keys(s.volumes)) {
		o.Volumes = append(o.Volumes, s.volumes[name])
	}
	for _, c := range s.classes {
		if c.Name == volume.GetPersistentVolumeClaimClass(claim) {
			o.Class = c
		}
	}
	return o
}

func (s *story) carryOut(out *strings.Builder, about string, a Actions) {
	if a.Confirm {
		s.t.Fatalf("%s: what was read from the API is to be confirmed", about)
	}
	if v := a.Volume; v != nil {
		if was := s.volumes[v.Name]; equality.Semantic.DeepEqual(was, v) {
			s.t.Fatalf("%s: volume %s is written although nothing of it changed", about, v.Name)
		}
		fmt.Fprintf(out, "%s: volume %s is %s%s%s\n", about, v.Name, v.Status.Phase, reference(v), unprotected(v))
		s.volumes[v.Name] = v
		if v.DeletionTimestamp != nil && len(v.Finalizers) == 0 {
			delete(s.volumes, v.Name)
		}
	}
	if c := a.Claim; c != nil {
		if equality.Semantic.DeepEqual(s.claims[c.Name], c) {
			s.t.Fatalf("%s: claim %s is written although nothing of it changed", about, c.Name)
		}
		fmt.Fprintf(out, "%s: claim %s is %s%s\n", about, c.Name, cmp.Or(string(c.Status.Phase), "new"), claimed(c))
		s.claims[c.Name] = c
	}
	for _, e := range a.Events {
		if s.told[about] != e {
			s.told[about] = e
			fmt.Fprintf(out, "%s: %s %s: %s\n", about, e.Type, e.Reason, e.Message)
		}
	}
}

func reference(v *corev1.PersistentVolume) string {
	ref := v.Spec.ClaimRef
	switch {
	case ref == nil:
		return ", for nobody"
	case ref.UID == "":
		return ", for any claim " + ref.Name
	}
	return ", for " + ref.Name + "/" + string(ref.UID)
}

func unprotected(v *corev1.PersistentVolume) string {
	if v.Status.Message != "" {
		return " (" + v.Status.Message + ")"
	}
	if len(v.Finalizers) == 0 {
		return ", let go"
	}
	return ""
}

func claimed(c *corev1.PersistentVolumeClaim) string {
	var parts []string
	if c.Spec.StorageClassName != nil {
		parts = append(parts, "class "+*c.Spec.StorageClassName)
	}
	if c.Spec.VolumeName != "" {
		parts = append(parts, "volume "+c.Spec.VolumeName)
	}
	if size, ok := c.Status.Capacity[corev1.ResourceStorage]; ok {
		parts = append(parts, size.String())
	}
	if by := c.Annotations[volume.AnnStorageProvisioner]; by != "" && c.Spec.VolumeName == "" {
		parts = append(parts, "to be made by "+by)
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

func TestWhatWouldEndAPairIsConfirmedFirst(t *testing.T) {
	v := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Name: "c", UID: "u"}}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "u", Annotations: map[string]string{volume.AnnBindCompleted: "yes"}}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	other := claim.DeepCopy()
	other.UID = "later"
	for what, a := range map[string]Actions{
		"a volume without its claim":              DecideVolume(ObservedVolume{Volume: v}),
		"a volume whose claim was made anew":      DecideVolume(ObservedVolume{Volume: v, Claim: other}),
		"a claim whose volume is not there":       DecideClaim(ObservedClaim{Claim: claim}),
		"a claim whose volume is another claim's": DecideClaim(ObservedClaim{Claim: other, Named: v}),
	} {
		if !a.Confirm || a.Volume != nil || a.Claim != nil || a.Events != nil {
			t.Errorf("%s: %+v, want that the API is asked first", what, a)
		}
	}
}
