package shutdown

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOrder reads flags from the arguments of "order" (grace=, critical=, by=(PRIORITY:PERIOD,…)) and Pods from the lines below: NAME [PRIORITY [PHASE]].
func TestOrder(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			stages, err := config(t, d).Stages()
			if err != nil {
				return err.Error()
			}
			var b strings.Builder
			fmt.Fprintf(&b, "in all %s\n", Total(stages))
			for _, turn := range Order(stages, pods(t, d.Input)) {
				fmt.Fprintf(&b, "%s, killed after %s:", turn.Period, turn.Period-turn.Reserve())
				for _, p := range turn.Pods {
					fmt.Fprintf(&b, " %s", p.Name)
				}
				b.WriteString("\n")
			}
			return b.String()
		})
	})
}

func config(t *testing.T, d *datadriven.TestData) Config {
	var c Config
	duration := func(s string) time.Duration {
		v, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "grace":
			c.GracePeriod = duration(a.Vals[0])
		case "critical":
			c.GracePeriodCritical = duration(a.Vals[0])
		case "by":
			c.ByPodPriority = map[string]string{}
			for _, v := range a.Vals {
				priority, period, _ := strings.Cut(v, ":")
				c.ByPodPriority[priority] = period
			}
		default:
			t.Fatalf("no such argument: %s", a.Key)
		}
	}
	return c
}

func pods(t *testing.T, text string) []*v1.Pod {
	var out []*v1.Pod
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: f[0], Namespace: "ns"}, Status: v1.PodStatus{Phase: v1.PodRunning}}
		if len(f) > 1 {
			n, err := strconv.ParseInt(f[1], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			priority := int32(n)
			p.Spec.Priority = &priority
		}
		if len(f) > 2 {
			p.Status.Phase = v1.PodPhase(f[2])
		}
		out = append(out, p)
	}
	return out
}
