package cpuset

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// TestAllocate plays the scripts in testdata/static: "machine sockets=S cores=C threads=T reserved=LIST" begins anew, "pod NAME" gives processors to a Pod
// from the YAML of its spec, "gone NAME" takes them back; each prints what has been given. Threads of a core are numbered as Linux does: the first of
// all cores, then the second of all.
func TestAllocate(t *testing.T) {
	var machine []Processor
	var reserved Set
	given := Given{}
	datadriven.RunTest(t, "testdata/static", func(t *testing.T, d *datadriven.TestData) string {
		var b strings.Builder
		switch d.Cmd {
		case "machine":
			var sockets, cores, threads int
			var list string
			d.ScanArgs(t, "sockets", &sockets)
			d.ScanArgs(t, "cores", &cores)
			d.ScanArgs(t, "threads", &threads)
			d.ScanArgs(t, "reserved", &list)
			machine, given = nil, Given{}
			var err error
			if reserved, err = Parse(list); err != nil {
				d.Fatalf(t, "%v", err)
			}
			for id := range sockets * cores * threads {
				machine = append(machine, Processor{ID: id, Core: id % cores, Socket: id / cores % sockets})
			}
			return ""
		case "gone":
			delete(given, d.CmdArgs[0].Key)
		case "pod":
			pod := &v1.Pod{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), &pod.Spec); err != nil {
				d.Fatalf(t, "%v", err)
			}
			sets, err := Allocate(machine, reserved, given, pod)
			if err != nil {
				fmt.Fprintf(&b, "%v\n", err)
			} else {
				given[d.CmdArgs[0].Key] = sets
			}
		}
		for _, pod := range slices.Sorted(maps.Keys(given)) {
			for _, c := range slices.Sorted(maps.Keys(given[pod])) {
				fmt.Fprintf(&b, "%s/%s: %s\n", pod, c, given[pod][c])
			}
		}
		fmt.Fprintf(&b, "the others: %s\n", numbers(machine).without(given.all()))
		return b.String()
	})
}

func TestAListOfProcessorsIsReadAndWritten(t *testing.T) {
	for text, want := range map[string]string{"": "", "3": "3", "0-3,8": "0-3,8", "8, 0-1,2": "0-2,8", "1,1": "1"} {
		s, err := Parse(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, s, err, want)
		}
	}
	for _, bad := range []string{"a", "3-1", "-1", "1-", "0-99999999"} {
		if s, err := Parse(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, s)
		}
	}
}

func TestTheNextProcessGivesNothingTwice(t *testing.T) {
	machine := []Processor{{ID: 0}, {ID: 1, Core: 1}, {ID: 2, Core: 2}}
	file := filepath.Join(t.TempDir(), "state")
	pod := func(name string, cpus string) *v1.Pod {
		p := &v1.Pod{}
		p.UID = types.UID(name)
		text := fmt.Sprintf("containers: [{name: c, resources: {limits: {cpu: %s, memory: 1Mi}}}]", cpus)
		if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, err := Open(Config{Policy: Static}, machine, 500, file)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := first.Admit(pod("a", "1")); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := first.Admit(pod("part", "1500m")); changed || err != nil {
		t.Error("a Pod that asks for a part of a processor changes something:", err)
	}
	second, err := Open(Config{Policy: Static}, machine, 500, file)
	if err != nil {
		t.Fatal(err)
	}
	if got := second.Of("a", "c") + " " + second.Of("part", "c"); got != "1 0,2" {
		t.Errorf("taken up: %s", got)
	}
	if _, err := second.Admit(pod("b", "2")); err == nil || !strings.Contains(err.Error(), "not enough cpus") {
		t.Errorf("two of one: %v", err)
	}
	if changed, err := second.Release("a"); !changed || err != nil {
		t.Error(changed, err)
	}
	if changed, err := second.Admit(pod("b", "2")); !changed || err != nil {
		t.Error(changed, err)
	}
	// The machine has become smaller.
	if _, err := Open(Config{Policy: Static}, machine[:2], 500, file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a processor that is gone: %v", err)
	}
	if _, err := Open(Config{Policy: Static}, machine, 0, filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "--reserved-cpus") {
		t.Errorf("nothing is reserved: %v", err)
	}
	// Without the policy, those that were held to some processors are let go, once, and nobody gets any.
	freed, err := Open(Config{Policy: None}, machine, 500, file)
	if err != nil {
		t.Fatal(err)
	}
	if got := freed.Of("b", "c") + " " + freed.Of("part", "c"); got != "0-2 0-2" {
		t.Errorf("let go: %q", got)
	}
	if changed, err := freed.Admit(pod("d", "1")); changed || err != nil {
		t.Error("one is given without the policy:", changed, err)
	}
	if again, err := Open(Config{Policy: None}, machine, 500, file); again != nil || err != nil {
		t.Error(again, err)
	}
	var none *CPUs
	if got := none.Of("a", "c"); got != "" {
		t.Errorf("without a policy: %q", got)
	}
}
