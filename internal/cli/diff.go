package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/diff"
)

// DiffReport is how two states of an Application's objects differ.
type DiffReport struct {
	// From and To are what is compared, such as live and a commit.
	From    string       `json:"from"`
	To      string       `json:"to"`
	Objects []ObjectDiff `json:"objects"`
}

// ObjectDiff is one object that differs.
type ObjectDiff struct {
	Object string `json:"object"`
	// Action is create, update, prune or whatever else a plan would do.
	Action string `json:"action"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	// Diff is the difference of the two states as YAML, in the unified format. Values of Secrets are hidden.
	Diff string `json:"diff"`
}

// Add adds an object to the report unless its two states read the same. Either may be nil: then the object is not there.
func (r *DiffReport) Add(object, action, file string, line int, before, after *unstructured.Unstructured) error {
	before, after = diff.Mask(before, after)
	from, err := document(before)
	if err != nil {
		return err
	}
	to, err := document(after)
	if err != nil {
		return err
	}
	if from == to {
		return nil
	}
	d := difflib.UnifiedDiff{A: lines(from), B: lines(to), FromFile: r.From + ": " + object, ToFile: r.To + ": " + object, Context: 3}
	if file != "" {
		d.ToFile += " (" + place(file, line) + ")"
	}
	if before == nil {
		d.FromFile = "/dev/null"
	}
	if after == nil {
		d.ToFile = "/dev/null"
	}
	text, err := difflib.GetUnifiedDiffString(d)
	if err != nil {
		return err
	}
	r.Objects = append(r.Objects, ObjectDiff{Object: object, Action: action, File: file, Line: line, Diff: text})
	return nil
}

func document(u *unstructured.Unstructured) (string, error) {
	if u == nil {
		return "", nil
	}
	b, err := yaml.Marshal(u.Object)
	return string(b), err
}

// lines splits a document, each line with its end; difflib's own function sees an empty line after the last one.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	split := strings.SplitAfter(text, "\n")
	return split[:len(split)-1] // YAML ends with the end of a line
}

// ExitCode is ExitOutOfSync when anything differs.
func (r DiffReport) ExitCode() int {
	if len(r.Objects) > 0 {
		return ExitOutOfSync
	}
	return ExitInSync
}

// WriteDiff writes the report; as a table it is what patch(1) reads.
func WriteDiff(w io.Writer, r DiffReport, f Format, colour bool) error {
	if f != Table {
		if r.Objects == nil {
			r.Objects = []ObjectDiff{}
		}
		return encode(w, f, r)
	}
	p := &printer{w: w, colour: colour}
	if len(r.Objects) == 0 {
		p.print(fmt.Sprintf("No difference between %s and %s.\n", r.From, r.To))
	}
	for _, o := range r.Objects {
		for _, line := range strings.SplitAfter(o.Diff, "\n") {
			style := Plain
			switch {
			case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
				style = Bold
			case strings.HasPrefix(line, "@@"):
				style = Dim
			case strings.HasPrefix(line, "-"):
				style = Red
			case strings.HasPrefix(line, "+"):
				style = Green
			}
			text, end := strings.TrimSuffix(line, "\n"), ""
			if text != line {
				end = "\n"
			}
			p.styled(style, text)
			p.print(end)
		}
	}
	return p.err
}
