package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// WriteHistory writes the last applies of an Application, newest first.
func WriteHistory(w io.Writer, app *v1alpha1.Application, f Format, now time.Time, colour bool) error {
	if f != Table {
		history := app.Status.History
		if history == nil {
			history = []v1alpha1.HistoryEntry{}
		}
		return encode(w, f, map[string]any{"namespace": app.Namespace, "name": app.Name, "history": history})
	}
	p := &printer{w: w, colour: colour}
	if len(app.Status.History) == 0 {
		p.print(fmt.Sprintf("Nothing has been applied for %s/%s yet.\n", app.Namespace, app.Name))
		return p.err
	}
	var t table
	t.header("WHEN", "REVISION", "RESULT", "BY", "CHANGES", "AUTHOR", "MESSAGE")
	for _, h := range app.Status.History {
		message := cell{oneLine(h.Message, 60), Plain}
		if h.Error != "" {
			message = cell{oneLine(h.Error, 120), Red}
		}
		t.add(plain(ago(&h.Time.Time, now)), plain(Short(h.Revision)), state(h.Result), plain(orDash(h.Trigger)), plain(changes(h)), plain(orDash(name(h.Author))), message)
	}
	t.write(p)
	return p.err
}

// changes is such as "+2 ~1 -1 =5": created, updated, pruned, unchanged.
func changes(h v1alpha1.HistoryEntry) string {
	if h.Created+h.Updated+h.Pruned+h.Unchanged == 0 {
		return "-"
	}
	return fmt.Sprintf("+%d ~%d -%d =%d", h.Created, h.Updated, h.Pruned, h.Unchanged)
}

// name is an author without the address.
func name(author string) string {
	n, _, _ := strings.Cut(author, " <")
	return n
}

// Previous is the commit that was applied before the present one and is another; empty for none.
func Previous(app *v1alpha1.Application) string {
	for _, h := range app.Status.History {
		if h.Result == "Applied" && h.Revision != app.Status.AppliedRevision {
			return h.Revision
		}
	}
	return ""
}
