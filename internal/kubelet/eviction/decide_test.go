package eviction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// TestDecide plays the scripts in testdata/decide. "node" begins anew with flags, one "name value" per line, "pod NAME" adds one, from the YAML of its
// spec, its annotations, and what it uses (named uid=UID, it has that one), "exceeding" prints the Pods that are over their limits, "admit" prints what becomes of a Pod from the YAML of its spec, and
// "seen" decides, from lines
//
//	SIGNAL AVAILABLE of CAPACITY
//	after DURATION                 time passes
//	gone NAME                      a Pod has ended
//	reclaimed                      what the node could spare has been removed
func TestDecide(t *testing.T) {
	var s *State
	var pods []Pod
	var pressure []v1.NodeConditionType
	now := time.Unix(0, 0)
	datadriven.RunTest(t, "testdata/decide", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "node":
			c := Config{PressureTransitionPeriod: time.Minute, MaxPodGracePeriod: 30}
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				*map[string]*string{"hard": &c.Hard, "soft": &c.Soft, "grace": &c.SoftGracePeriod, "reclaim": &c.MinimumReclaim}[f[0]] = f[1]
			}
			thresholds, err := c.Thresholds()
			if err != nil {
				return err.Error()
			}
			s, pods = &State{Thresholds: thresholds, Transition: c.PressureTransitionPeriod, MaxGrace: c.MaxPodGracePeriod}, nil
			return ""
		case "pod":
			pods = append(pods, read(t, d.CmdArgs[0].Key, d.Input))
			if d.HasArg("uid") {
				var uid string
				d.ScanArgs(t, "uid", &uid)
				pods[len(pods)-1].UID = types.UID(uid)
			}
			return ""
		case "exceeding":
			var b strings.Builder
			for _, e := range Exceeding(pods) {
				fmt.Fprintf(&b, "%s: %s\n", e.UID, e.Message)
			}
			return b.String()
		case "admit":
			p := read(t, "new", d.Input)
			if text := Admit(p.Pod, lifecycle.QOS(&p.Spec), pressure); text != "" {
				return text
			}
			return "admitted"
		}
		in := Input{Seen: map[Signal]Observation{}, Pods: pods}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			switch f[0] {
			case "after":
				by, err := time.ParseDuration(f[1])
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				now = now.Add(by)
			case "gone":
				pods = slices.DeleteFunc(pods, func(p Pod) bool { return p.Name == f[1] })
				in.Pods = pods
			case "reclaimed":
				in.Reclaimed = true
			default:
				in.Seen[Signal(f[0])] = Observation{amount(t, f[1]), amount(t, f[3])}
			}
		}
		in.Now = now
		var b strings.Builder
		if s.MeasureDisk(in.Seen) {
			b.WriteString("measures the disk\n")
		}
		decided := s.Decide(in)
		pressure = decided.Pressure
		fmt.Fprintf(&b, "%v\n", decided.Pressure)
		if decided.Reclaim {
			fmt.Fprintf(&b, "reclaim %v\n", decided.Short)
		}
		if e := decided.Evict; e != nil {
			fmt.Fprintf(&b, "evict %s within %s for %v: %s\n", e.UID, e.Grace, decided.Short, e.Message)
		}
		return b.String()
	})
}

func read(t *testing.T, name, text string) Pod {
	t.Helper()
	var in struct {
		v1.PodSpec  `json:",inline"`
		Annotations map[string]string `json:"annotations"`
		Uses        struct {
			Memory, Disk resource.Quantity
			Inodes       int64
			Processes    int64
			EmptyDirs    map[string]resource.Quantity `json:"emptyDirs"`
		} `json:"uses"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	p := Pod{Pod: &v1.Pod{Spec: in.PodSpec}}
	p.Annotations = in.Annotations
	p.Name, p.UID = name, types.UID(name)
	p.Use = Use{Memory: in.Uses.Memory.Value(), Processes: in.Uses.Processes, Inodes: in.Uses.Inodes, Containers: map[string]ContainerUse{}, EmptyDirs: map[string]int64{}}
	for k, q := range in.Uses.EmptyDirs {
		p.Use.EmptyDirs[k] = q.Value()
	}
	if len(in.Containers) > 0 { // all of it is the first one's
		p.Use.Containers[in.Containers[0].Name] = ContainerUse{Memory: in.Uses.Memory.Value(), Disk: in.Uses.Disk.Value()}
	}
	return p
}

func amount(t *testing.T, text string) int64 {
	t.Helper()
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		t.Fatal(err)
	}
	return q.Value()
}
