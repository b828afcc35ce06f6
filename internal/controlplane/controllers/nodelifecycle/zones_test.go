package nodelifecycle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// TestZones sees Nodes, and asks when the Pods of the lost ones may be told to go. Time stands still but for at=D, its distance from the beginning.
//
//	zones                                a new cluster, with a grace period of 40s
//	see (at=D)                           a line for Nodes: NAME or NAME×COUNT, then ready or lost, zone=Z, uncounted, gone; answers how the zones are
//	turns (at=D)                         a line for names, in the order in which they ask
func TestZones(t *testing.T) {
	datadriven.Walk(t, "testdata/zones", func(t *testing.T, path string) {
		var z *zones
		var now time.Time
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.HasArg("at") {
				var at string
				d.ScanArgs(t, "at", &at)
				after, err := time.ParseDuration(at)
				if err != nil {
					t.Fatal(err)
				}
				now = podtest.Now.Add(after)
			}
			switch d.Cmd {
			case "zones":
				z, now = newZones(DefaultRates, 40*time.Second), podtest.Now
				return ""
			case "see":
				seeLines(t, z, d.Input, now)
				return zonesText(z)
			case "turns":
				var b strings.Builder
				for _, name := range strings.Fields(d.Input) {
					at, ok := z.turn(name, now)
					if ok {
						fmt.Fprintf(&b, "%s after %s\n", name, at.Sub(podtest.Now))
					} else {
						fmt.Fprintf(&b, "%s never\n", name)
					}
				}
				return b.String()
			}
			t.Fatalf("no such command: %s", d.Cmd)
			return ""
		})
	})
}

func seeLines(t *testing.T, z *zones, input string, now time.Time) {
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		name, count, many := strings.Cut(words[0], "×")
		names := []string{name}
		if many {
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			names = nil
			for i := range n {
				names = append(names, name+strconv.Itoa(i+1))
			}
		}
		for _, name := range names {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
			gone := false
			for _, w := range words[1:] {
				switch key, value, _ := strings.Cut(w, "="); key {
				case "ready":
					n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
				case "lost":
					n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
				case "zone":
					n.Labels[corev1.LabelTopologyZone] = value
				case "uncounted":
					n.Labels[excluded] = ""
				case "gone":
					gone = true
				default:
					t.Fatalf("no such word: %s", w)
				}
			}
			if gone {
				z.forget(name, now)
			} else {
				z.see(n, now)
			}
		}
	}
}

func zonesText(z *zones) string {
	var lines []string
	for name, of := range z.zones {
		lines = append(lines, fmt.Sprintf("%s %s, %d of %d ready, %g Nodes/s\n", name, z.rates.state(of.ready, of.counted-of.ready), of.ready, of.counted, of.rate))
	}
	slices.Sort(lines)
	if z.total {
		lines = append(lines, "no Node is ready\n")
	}
	return strings.Join(lines, "")
}
