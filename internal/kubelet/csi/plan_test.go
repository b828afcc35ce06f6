package csi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// TestDecide reads the spec of a CSIDriver (or "none") from the line below "decide", and what it is about from the arguments: modes=, can= (the driver's capabilities),
// fs=, group= (of the Pod), options=, block, inline, readonly, label=, size= and has= (of volume and claim).
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/plan.txt", func(t *testing.T, d *datadriven.TestData) string {
		arg := func(name string) string {
			for _, a := range d.CmdArgs {
				if a.Key == name {
					return strings.Join(a.Vals, ",")
				}
			}
			return ""
		}
		var what *storagev1.CSIDriver
		if strings.TrimSpace(d.Input) != "none" {
			what = &storagev1.CSIDriver{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), &what.Spec); err != nil {
				d.Fatalf(t, "%v", err)
			}
		}
		can := capabilities{}
		for _, c := range strings.Split(arg("can"), ",") {
			if c != "" {
				can[spec.NodeServiceCapability_RPC_Type(spec.NodeServiceCapability_RPC_Type_value[c])] = true
			}
		}
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0", UID: "u1"}, Spec: v1.PodSpec{ServiceAccountName: "db"}}
		if g := arg("group"); g != "" {
			var gid int64
			fmt.Sscan(g, &gid)
			pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &gid}
		}
		v := Volume{Pod: pod, Name: "data", ReadOnly: d.HasArg("readonly"), Label: arg("label")}
		if d.HasArg("inline") {
			v.Inline = &v1.CSIVolumeSource{Driver: "d.io", FSType: ptr.To(arg("fs")), NodePublishSecretRef: &v1.LocalObjectReference{Name: "key"}, VolumeAttributes: map[string]string{"a": "b"}}
		} else {
			v.Persistent = &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: v1.PersistentVolumeSpec{
				PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "d.io", VolumeHandle: "vol-1", FSType: arg("fs"), VolumeAttributes: map[string]string{"a": "b"}}},
			}}
			for _, m := range strings.Split(arg("modes"), ",") {
				long := map[string]v1.PersistentVolumeAccessMode{"RWO": v1.ReadWriteOnce, "ROX": v1.ReadOnlyMany, "RWX": v1.ReadWriteMany, "RWOP": v1.ReadWriteOncePod}[m]
				v.Persistent.Spec.AccessModes = append(v.Persistent.Spec.AccessModes, long)
			}
			if o := arg("options"); o != "" {
				v.Persistent.Spec.MountOptions = strings.Split(o, ",")
			}
			if d.HasArg("block") {
				v.Persistent.Spec.VolumeMode = ptr.To(v1.PersistentVolumeBlock)
			}
			v.Claim = &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data-db-0"}}
			if s := arg("size"); s != "" {
				v.Persistent.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse(s)}
				v.Claim.Status.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse(arg("has"))}
			}
		}
		p, err := decide(v, what, can, paths{"/k"})
		if err != nil {
			return "error: " + err.Error()
		}
		return p.String()
	})
}

// String shows what a plan does.
func (p plan) String() string {
	var b strings.Builder
	if p.Attached {
		b.WriteString("wait until it is attached\n")
	} else if p.Held != "" {
		b.WriteString("wait until no other node has it\n")
	}
	if p.Stage {
		fmt.Fprintf(&b, "stage at %s\n", p.Staging)
	}
	fmt.Fprintf(&b, "publish at %s", p.Target)
	if p.ReadOnly {
		b.WriteString(" to be read")
	}
	fmt.Fprintf(&b, ": %s", p.Capability.AccessMode.Mode)
	if m := p.Capability.GetMount(); m != nil {
		fmt.Fprintf(&b, " fs=%q flags=%q", m.FsType, m.MountFlags)
		if m.VolumeMountGroup != "" {
			b.WriteString(" group=" + m.VolumeMountGroup)
		}
	} else {
		b.WriteString(" block")
	}
	b.WriteString("\n")
	for _, k := range slices.Sorted(maps.Keys(p.PodInfo)) {
		fmt.Fprintf(&b, "  with %s=%s\n", k, p.PodInfo[k])
	}
	if p.PublishSecret != nil {
		fmt.Fprintf(&b, "  with the Secret %s/%s\n", p.PublishSecret.Namespace, p.PublishSecret.Name)
	}
	for _, r := range p.Tokens {
		fmt.Fprintf(&b, "  with a token for %s, secret %v\n", r.Audience, p.InSecrets)
	}
	if p.record.Republish {
		b.WriteString("  again and again\n")
	}
	if p.Expand > 0 {
		fmt.Fprintf(&b, "expand to %d\n", p.Expand)
	}
	if p.Group != nil {
		fmt.Fprintf(&b, "give it to the group %d\n", *p.Group)
	}
	return b.String()
}

func TestWhatTheClusterIsToldOfADriver(t *testing.T) {
	have := &storagev1.CSINode{Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "other", NodeID: "x"}}}}
	info := nodeInfo{Driver: "d.io", ID: "n1", Limit: 7, Topology: map[string]string{"z": "1", "a": "2"}}
	with := withDriver(have, info)
	if len(with.Spec.Drivers) != 2 || *with.Spec.Drivers[1].Allocatable.Count != 7 || !slices.Equal(with.Spec.Drivers[1].TopologyKeys, []string{"a", "z"}) {
		t.Errorf("%+v", with.Spec)
	}
	if withDriver(with, info) != with {
		t.Error("what is listed already is written again")
	}
	if got := withoutDriver(with, "d.io"); len(got.Spec.Drivers) != 1 || withoutDriver(got, "d.io") != got {
		t.Errorf("%+v", got.Spec)
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"z": "1"}, Annotations: map[string]string{annIDs: `{"other":"x"}`}}}
	ids, labels, err := atNode(node, info, false)
	if err != nil || ids != `{"d.io":"n1","other":"x"}` || len(labels) != 1 || labels["a"] != "2" {
		t.Errorf("%s %v %v", ids, labels, err)
	}
	node.Labels["z"] = "3"
	if _, _, err := atNode(node, info, false); err == nil {
		t.Error("a label that says something else is written over")
	}
	node.Annotations[annIDs] = ids
	if ids, _, err := atNode(node, info, true); err != nil || ids != `{"other":"x"}` {
		t.Errorf("%s %v", ids, err)
	}
}
