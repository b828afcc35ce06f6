package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// reference is what others did on two shared cores of this kind, with the client on the same cores: an API server made in a trial from the same library with
// twelve kinds and etcd in its process, and kube-apiserver 1.37 with etcd. Zero: not measured.
type reference struct{ trial, upstream float64 }

// rate is one line of a table: calls per second over many rounds.
type rate struct {
	name      string
	clients   int
	perSecond []float64
	// processor is what the server used per call; zero: not taken.
	processor time.Duration
	reference reference
}

func rateTable(out io.Writer, rates []rate) error {
	fmt.Fprintf(out, "calls per second, medians of %d rounds; the clients run on the same cores\n", rounds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tclients\tper second\tof the trial\tof kube-apiserver\tprocessor time per call\t")
	for _, r := range rates {
		m := median(r.perSecond)
		processor := ""
		if r.processor > 0 {
			processor = fmt.Sprintf("%.2f ms", float64(r.processor.Microseconds())/1000)
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%s\t%s\t%s\t\n", r.name, r.clients, m, ratio(m, r.reference.trial), ratio(m, r.reference.upstream), processor)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

// yardstick says how fast the machine is at this moment, by a piece of work that is always the same: figures of two days can then be compared.
func yardstick() (string, error) {
	pod := samplePod(0)
	f := figure{}
	for range 50 {
		start := time.Now()
		for range 20 {
			text, err := json.Marshal(pod)
			if err != nil {
				return "", err
			}
			if err := json.Unmarshal(text, &corev1.Pod{}); err != nil {
				return "", err
			}
		}
		f.times = append(f.times, time.Since(start)/20)
	}
	return fmt.Sprintf("yardstick: the Pod to JSON and back in %.1f µs of one core\n", float64(f.percentile(50).Nanoseconds())/1000), nil
}

func ratio(got, reference float64) string {
	if reference == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f×", got/reference)
}
