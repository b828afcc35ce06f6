package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Format is how a report is written.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// ParseFormat reads the value of -o.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Table, JSON, YAML:
		return f, nil
	}
	return "", fmt.Errorf("-o %s: use table, json or yaml", s)
}

// encode writes v as JSON or YAML.
func encode(w io.Writer, f Format, v any) error {
	if f == YAML {
		b, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // authors are written as name <address>
	e.SetIndent("", "  ")
	return e.Encode(v)
}

var styles = map[string]Style{
	"Synced": Green, "Healthy": Green, "Applied": Green,
	"OutOfSync": Yellow, "Progressing": Yellow, "Unknown": Yellow,
	"Failed": Red, "Degraded": Red, "Refused": Red, "RolledBack": Red,
}

func state(s string) cell { return cell{s, styles[s]} }

// WriteStatus writes the report. As a table it is one line for each Application, and below it whatever is wrong with any of them, and what to do.
func WriteStatus(w io.Writer, r Report, f Format, now time.Time, colour bool) error {
	if f != Table {
		return encode(w, f, r)
	}
	p := &printer{w: w, colour: colour}
	writeNodes(p, r.Nodes, now)
	if len(r.Applications) == 0 {
		p.print("There are no Applications. Start gitopsd with --repo, or create one with kubectl.\n")
		return p.err
	}
	var t table
	t.header("APPLICATION", "REVISION", "SYNC", "HEALTH", "OBJECTS", "DRIFTED", "APPLIED")
	for _, a := range r.Applications {
		sync := state(a.Sync)
		if a.Suspended {
			sync = cell{a.Sync + " (suspended)", Yellow}
		}
		drifted := cell{fmt.Sprint(len(a.Drift)), Plain}
		if len(a.Drift) > 0 {
			drifted.style = Yellow
		}
		objects := fmt.Sprint(a.Objects)
		if a.Omitted > 0 {
			objects += fmt.Sprintf(" (%d left out)", a.Omitted)
		}
		t.add(plain(a.Namespace+"/"+a.Name), plain(Short(a.Revision)), sync, state(a.Health), plain(objects), drifted, plain(ago(a.Applied, now)))
	}
	t.write(p)
	for _, a := range r.Applications {
		writeDetails(p, a, now)
	}
	return p.err
}

func writeDetails(p *printer, a ApplicationReport, now time.Time) {
	if a.Message == "" && len(a.Drift) == 0 && len(a.Unhealthy) == 0 && len(recent(a.Reverted, now)) == 0 && a.Next == "" && a.Doing == "" && a.Tree == nil {
		return
	}
	p.print("\n")
	p.styled(Bold, a.Namespace+"/"+a.Name)
	p.print(fmt.Sprintf("  %s  %s", a.Repo, a.Ref))
	if a.Path != "" {
		p.print("  " + a.Path)
	}
	if a.Wanted != "" && a.Wanted != a.Revision {
		p.print("  wants " + Short(a.Wanted))
	}
	if a.Since != nil {
		p.print("  not ready since " + ago(a.Since, now))
	}
	p.print("\n")
	if a.Doing != "" {
		p.print("  ")
		p.styled(Yellow, a.Doing)
		p.print("\n")
	}
	if a.Message != "" {
		for _, line := range strings.Split(a.Message, "\n") {
			p.print("  ")
			p.styled(Red, line)
			p.print("\n")
		}
	}
	writeDrift(p, "Differs from Git", a.Drift, now)
	if len(a.Unhealthy) > 0 {
		p.print("  Not healthy\n")
		t := table{indent: "    "}
		for _, u := range a.Unhealthy {
			t.add(plain(u.Object), state(u.Health), plain(oneLine(u.Message, 120)))
		}
		t.write(p)
	}
	late := recent(a.Reverted, now)
	writeDrift(p, "Set back to Git", late, now)
	if n := len(a.Reverted) - len(late); n > 0 && len(late) > 0 {
		p.print(fmt.Sprintf("    %d earlier: gitopsd status -o yaml\n", n))
	}
	writeTree(p, a.Tree)
	if a.Next != "" {
		p.print("  Next: " + a.Next + "\n")
	}
}

// A table shows what was set back lately; older entries would only be in the way of what is wrong now.
const (
	recentTime  = 15 * time.Minute
	recentCount = 10
)

// recent returns the newest of the entries, which are sorted so that these come first.
func recent(reverted []DriftReport, now time.Time) []DriftReport {
	for i, d := range reverted {
		if i == recentCount || d.Since != nil && now.Sub(*d.Since) > recentTime {
			return reverted[:i]
		}
	}
	return reverted
}

func writeDrift(p *printer, title string, drift []DriftReport, now time.Time) {
	if len(drift) == 0 {
		return
	}
	p.print("  " + title + "\n")
	t := table{indent: "    "}
	t.header("OBJECT", "FIELD", "GIT", "LIVE", "WHO", "WHEN", "WHERE IN GIT")
	for _, d := range drift {
		field, live := d.Field, orDash(d.Live)
		if field == "" {
			field, live = "(all of it)", "missing"
		}
		t.add(plain(d.Object), plain(field), cell{oneLine(orDash(d.Git), 40), Green}, cell{oneLine(live, 40), Red},
			plain(who(d.User, d.Manager)), plain(ago(d.Since, now)), cell{place(d.File, d.Line), Dim})
	}
	t.write(p)
	said := map[string]bool{}
	for _, d := range drift {
		if d.Override == nil || said[d.Object] {
			continue
		}
		said[d.Object] = true
		when := ""
		if d.Override.Time != nil {
			when = " " + ago(&d.Override.Time.Time, now)
		}
		p.print("    ")
		p.styled(Yellow, fmt.Sprintf("%s stays so: overridden by %s%s: %s", d.Object, orDash(d.Override.User), when, oneLine(d.Override.Reason, 160)))
		p.print("\n")
	}
}
