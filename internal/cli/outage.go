package cli

import (
	"io"
	"time"
)

// Outage is what can be said while the control plane does not answer.
type Outage struct {
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Problem    string `json:"problem"`
	// DataDir is the control plane's directory, and Process what runs in it, if it is on this machine.
	DataDir string `json:"dataDir,omitempty"`
	Process string `json:"process,omitempty"`
	// Repos are the repositories that were being followed, with the commits that were fetched last.
	Repos []KnownRepo `json:"repos,omitempty"`
	Next  string      `json:"next"`
}

// KnownRepo is a repository whose commits are on disk.
type KnownRepo struct {
	URL     string    `json:"url"`
	Commit  string    `json:"commit,omitempty"`
	Fetched time.Time `json:"fetched"`
}

// OutageReport is what status prints for programs instead of a Report.
type OutageReport struct {
	Outage Outage `json:"outage"`
}

// WriteOutage writes it.
func WriteOutage(w io.Writer, o Outage, f Format, now time.Time, colour bool) error {
	if f != Table {
		return encode(w, f, OutageReport{o})
	}
	p := &printer{w: w, colour: colour}
	p.styled(Red, "The control plane does not answer.")
	p.print(" What nodes run goes on running; nothing new is applied, scheduled or reverted.\n")
	t := table{indent: "  "}
	add := func(name, text string) {
		if text != "" {
			t.add(cell{name, Bold}, plain(text))
		}
	}
	add("server", o.Server)
	add("kubeconfig", o.Kubeconfig)
	add("problem", o.Problem)
	add("data", o.DataDir)
	add("process", o.Process)
	for _, r := range o.Repos {
		add("Git", r.URL+" at "+Short(r.Commit)+", fetched "+ago(&r.Fetched, now))
	}
	t.write(p)
	p.print("  Next: " + o.Next + "\n")
	return p.err
}
