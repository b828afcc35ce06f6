package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// figure is one line of a table: the times of the same step over many rounds.
type figure struct {
	name  string
	times []time.Duration
}

// percentile is the smallest time that p percent of the rounds did not exceed.
func (f figure) percentile(p int) time.Duration {
	if len(f.times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.times))
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

func table(out io.Writer, title string, figures []figure) error {
	fmt.Fprintln(out, title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tmedian\tp99\tmax\t")
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", f.name, ms(f.percentile(50)), ms(f.percentile(99)), ms(f.percentile(100)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }
