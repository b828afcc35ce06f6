package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// BlameReport says of each field of an object who set it.
type BlameReport struct {
	Object string `json:"object"`
	v1alpha1.ObjectRef
	// Application is "namespace/name" of the one that the object is of; empty for none.
	Application string `json:"application,omitempty"`
	// Note says why lines are not traced further than to the object, if they are not.
	Note   string       `json:"note,omitempty"`
	Fields []BlameField `json:"fields"`
}

// BlameField is one field. Value is JSON.
type BlameField struct {
	Field string `json:"field"`
	Value string `json:"value"`
	// From is git, manager or default.
	From string `json:"from"`
	// Commit, Author, File and Line are for what came from Git: the commit that changed that line last.
	Commit  string `json:"commit,omitempty"`
	Message string `json:"message,omitempty"`
	Author  string `json:"author,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	// User and Manager are for what did not.
	User    string     `json:"user,omitempty"`
	Manager string     `json:"manager,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
	// Also are further managers that hold the field.
	Also []string `json:"also,omitempty"`
}

// Traced says which line of Git sets a field, and which commit changed that line last.
type Traced func(field string) (file string, line int, c source.Commit)

// NewBlameReport makes the report of a live object. trace is nil when the lines of Git cannot be read; then what came from Git is traced to the object's own
// note of its origin. Only fields that the pattern covers are in the report, if there is one.
func NewBlameReport(ref v1alpha1.ObjectRef, live *unstructured.Unstructured, trace Traced, pattern string) BlameReport {
	r := BlameReport{Object: objectText(ref), ObjectRef: ref, Fields: []BlameField{}}
	origin, _ := diff.OriginOf(live)
	for _, o := range diff.Origins(live) {
		if pattern != "" && !diff.Covers(pattern, o.Path) {
			continue
		}
		f := BlameField{Field: o.Path, Value: diff.Show(ref, o.Path, o.Value), From: "default"}
		holders := o.Holders
		switch {
		case o.Git:
			f.From, f.Commit, f.File, f.Line = "git", origin.Commit, origin.File, origin.Line
			if trace == nil {
				break
			}
			var c source.Commit
			if f.File, f.Line, c = trace(o.Path); c.Hash != "" {
				f.Commit, f.Message, f.Author, f.Time = c.Hash, c.Subject, c.Author, &c.Time
			}
		case len(holders) > 0:
			h := holders[0]
			f.From, f.User, f.Manager = "manager", h.User, h.Manager
			if h.Time != nil {
				f.Time = &h.Time.Time
			}
			holders = holders[1:]
		}
		for _, h := range holders {
			f.Also = append(f.Also, h.Manager)
		}
		r.Fields = append(r.Fields, f)
	}
	return r
}

// WriteBlame writes the report.
func WriteBlame(w io.Writer, r BlameReport, f Format, now time.Time, colour bool) error {
	if f != Table {
		return encode(w, f, r)
	}
	p := &printer{w: w, colour: colour}
	p.styled(Bold, r.Object)
	if r.Application != "" {
		p.print("  of Application " + r.Application)
	}
	p.print("\n")
	var t table
	t.header("FIELD", "VALUE", "FROM", "WHO", "WHEN", "WHERE IN GIT")
	for _, b := range r.Fields {
		from, style, by := b.From, Dim, "-"
		switch b.From {
		case "git":
			from, style, by = Short(b.Commit), Green, orDash(name(b.Author))
		case "manager":
			style, by = Yellow, who(b.User, b.Manager)
		}
		if len(b.Also) > 0 {
			by += ", also " + strings.Join(b.Also, ", ")
		}
		t.add(plain(b.Field), plain(oneLine(b.Value, 50)), cell{from, style}, plain(by), plain(ago(b.Time, now)), cell{place(b.File, b.Line), Dim})
	}
	t.write(p)
	if r.Note != "" {
		p.print(fmt.Sprintf("\n%s\n", r.Note))
	}
	return p.err
}
