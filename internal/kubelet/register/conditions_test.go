package register

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
)

func TestConditions(t *testing.T) {
	fine := Observed{}
	with := func(f func(*Observed)) Observed { o := fine; f(&o); return o }
	for name, c := range map[string]struct {
		o    Observed
		want string
	}{
		"all is well":        {fine, "Ready"},
		"containerd is away": {with(func(o *Observed) { o.Runtime = "containerd does not answer" }), "not Ready: containerd does not answer"},
		"no addresses yet":   {with(func(o *Observed) { o.Network = "no podCIDRs" }), "not Ready: no podCIDRs"},
		"the host goes down": {with(func(o *Observed) { o.ShuttingDown = true }), "not Ready: node is shutting down"},
		"little memory":      {with(func(o *Observed) { o.Pressure = []v1.NodeConditionType{v1.NodeMemoryPressure} }), "MemoryPressure Ready"},
		"a full disk":        {with(func(o *Observed) { o.Pressure = []v1.NodeConditionType{v1.NodeDiskPressure} }), "DiskPressure Ready"},
		"too many processes": {with(func(o *Observed) { o.Pressure = []v1.NodeConditionType{v1.NodePIDPressure} }), "PIDPressure Ready"},
	} {
		var got []string
		for _, cond := range Conditions(c.o, nil, time.Unix(0, 0)) {
			switch {
			case cond.Status == v1.ConditionTrue:
				got = append(got, string(cond.Type))
			case cond.Type == v1.NodeReady:
				got = append(got, "not Ready: "+cond.Message)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", name, s, c.want)
		}
	}
}

func TestATransitionTimeChangesWithItsStatusOnly(t *testing.T) {
	ok := Observed{}
	first := Conditions(ok, nil, time.Unix(100, 0))
	second := Conditions(ok, first, time.Unix(200, 0))
	if changed(first, second) {
		t.Error("a heartbeat counts as a change")
	}
	bad := ok
	bad.Runtime = "away"
	third := Conditions(bad, second, time.Unix(300, 0))
	if !changed(second, third) {
		t.Error("a change does not count as one")
	}
	var got []string
	for _, c := range third {
		got = append(got, fmt.Sprintf("%s %d %d", c.Type, c.LastTransitionTime.Unix(), c.LastHeartbeatTime.Unix()))
	}
	if diff := cmp.Diff([]string{"MemoryPressure 100 300", "DiskPressure 100 300", "PIDPressure 100 300", "Ready 300 300"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheLargestImagesAreListed(t *testing.T) {
	var list []*image.Image
	for i := range maxImages + 10 {
		list = append(list, &image.Image{Ref: fmt.Sprintf("r.example/a:%d", i), Digest: fmt.Sprint(i), Size: int64(i)})
	}
	list = append(list, &image.Image{Ref: "r.example/other:1", Digest: "59", Size: 59})
	got := images(list)
	if len(got) != maxImages {
		t.Errorf("%d are listed, want %d", len(got), maxImages)
	}
	if diff := cmp.Diff(v1.ContainerImage{Names: []string{"r.example/a:59", "r.example/other:1"}, SizeBytes: 59}, got[0]); diff != "" {
		t.Errorf("the first (-want +got):\n%s", diff)
	}
}
