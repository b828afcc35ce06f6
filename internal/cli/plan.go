package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/forecast"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// PlanReport is what an apply would do, as plan prints it for programs.
type PlanReport struct {
	Steps []PlanStep `json:"steps"`
	// Omitted is how many objects spec.source.omit leaves out.
	Omitted int `json:"omitted,omitempty"`
	// Waiting are the objects that come later, once the cluster knows their kinds.
	Waiting []string `json:"waiting,omitempty"`
	// Forecast is what would become of the Pods that come.
	Forecast []forecast.Outlook `json:"forecast,omitempty"`
	// Errors are what would stop the commit; then nothing of it would be applied.
	Errors []string `json:"errors,omitempty"`
}

// PlanStep is what would be done about one object.
type PlanStep struct {
	Action string `json:"action"`
	Object string `json:"object"`
	v1alpha1.ObjectRef
	File   string      `json:"file,omitempty"`
	Line   int         `json:"line,omitempty"`
	Fields []FieldStep `json:"fields,omitempty"`
	Reason string      `json:"reason,omitempty"`
	// Loses says what data would be lost; empty for none.
	Loses string `json:"loses,omitempty"`
}

// FieldStep is one field that would change; From and To are JSON, empty is absent.
type FieldStep struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// Located says where in Git an object, or a field of it, is.
type Located func(k diff.Key, field string) (file string, line int)

// NewPlanReport makes the report of a plan; claims counts the PersistentVolumeClaims of each namespace that holds some, err is what the dry run found.
func NewPlanReport(plan diff.Plan, where Located, claims map[string]int, err error) PlanReport {
	r := PlanReport{Steps: []PlanStep{}}
	for _, s := range plan {
		step := PlanStep{Action: string(s.Action), Object: objectText(s.Ref), ObjectRef: s.Ref, Reason: s.Reason}
		step.File, step.Line = where(diff.KeyOf(s.Ref), "")
		if s.Action == diff.Prune {
			step.Loses = loses(s.Ref, claims)
		}
		for _, d := range diff.Describe(s.Ref, s.Fields) {
			_, line := where(diff.KeyOf(s.Ref), d.Field)
			if d.Want == "" {
				line = 0
			}
			step.Fields = append(step.Fields, FieldStep{Field: d.Field, From: d.Live, To: d.Want, Line: line})
		}
		r.Steps = append(r.Steps, step)
	}
	if err != nil {
		r.Errors = strings.Split(err.Error(), "\n")
	}
	return r
}

// loses says what data goes with an object.
func loses(r v1alpha1.ObjectRef, claims map[string]int) string {
	switch {
	case r.Group == "" && r.Kind == "PersistentVolumeClaim":
		return "the data of this claim, unless its volume is retained"
	case r.Group == "" && r.Kind == "PersistentVolume":
		return "the way to the data of this volume"
	case r.Group == "" && r.Kind == "Namespace" && claims[r.Name] > 0:
		return fmt.Sprintf("everything in it, with the data of %d claims", claims[r.Name])
	case r.Group == "" && r.Kind == "Namespace":
		return "everything in it"
	case r.Group == "apiextensions.k8s.io" && r.Kind == "CustomResourceDefinition":
		return "all objects of this kind"
	}
	return ""
}

// ExitCode is ExitError when the commit would be refused, ExitOutOfSync when it would change something.
func (r PlanReport) ExitCode() int {
	if len(r.Errors) > 0 {
		return ExitError
	}
	for _, s := range r.Steps {
		if s.Action != string(diff.Unchanged) {
			return ExitOutOfSync
		}
	}
	return ExitInSync
}

var signs = map[string]cell{
	string(diff.Create):   {"+", Green},
	string(diff.Update):   {"~", Yellow},
	string(diff.Prune):    {"-", Red},
	string(diff.Release):  {"o", Yellow},
	string(diff.Forget):   {".", Dim},
	string(diff.Held):     {"!", Yellow},
	string(diff.Conflict): {"!", Red},
}

// WritePlan writes the report. The table leaves out what would not be touched, but counts it.
func WritePlan(w io.Writer, r PlanReport, f Format, colour bool) error {
	if f != Table {
		return encode(w, f, r)
	}
	p := &printer{w: w, colour: colour}
	count := map[string]int{}
	for _, s := range r.Steps {
		count[s.Action]++
		if s.Action == string(diff.Unchanged) {
			continue
		}
		sign := signs[s.Action]
		p.styled(sign.style, fmt.Sprintf("%s %s %s", sign.text, s.Action, s.Object))
		if s.File != "" {
			p.styled(Dim, "  "+place(s.File, s.Line))
		}
		if s.Reason != "" {
			p.print("  (" + s.Reason + ")")
		}
		if s.Loses != "" {
			p.styled(Red, "  LOSES "+s.Loses)
		}
		p.print("\n")
		t := table{indent: "    "}
		for _, fs := range s.Fields {
			at := ""
			if fs.Line > 0 {
				at = fmt.Sprintf("line %d", fs.Line)
			}
			t.add(plain(fs.Field), cell{oneLine(orDash(fs.From), 60), Red}, plain("→"), cell{oneLine(orDash(fs.To), 60), Green}, cell{at, Dim})
		}
		t.write(p)
	}
	p.print(fmt.Sprintf("%d to create, %d to update, %d to prune, %d unchanged",
		count[string(diff.Create)], count[string(diff.Update)], count[string(diff.Prune)], count[string(diff.Unchanged)]))
	if r.Omitted > 0 {
		p.print(fmt.Sprintf(", %d left out by spec.source.omit", r.Omitted))
	}
	p.print("\n")
	for _, w := range r.Waiting {
		p.print("later: " + w + "\n")
	}
	writeForecast(p, r.Forecast)
	if len(r.Errors) > 0 {
		p.print("\nThe commit would be refused:\n")
		for _, e := range r.Errors {
			p.print("  ")
			p.styled(Red, e)
			p.print("\n")
		}
	}
	return p.err
}

// writeForecast lists the workloads that would not fit; one line says that all do.
func writeForecast(p *printer, outlooks []forecast.Outlook) {
	if len(outlooks) == 0 {
		return
	}
	pods, fit := 0, 0
	for _, o := range outlooks {
		pods, fit = pods+o.Pods, fit+o.Fit
	}
	p.print(fmt.Sprintf("Forecast: %d of %d Pods that come would find a node now\n", fit, pods))
	for _, o := range outlooks {
		if o.Message == "" {
			continue
		}
		p.print("  ")
		p.styled(Red, fmt.Sprintf("%s: %d of %d fit", o.Workload, o.Fit, o.Pods))
		p.print(": " + o.Message + "\n")
		for _, r := range o.Remedies {
			p.print("    - " + r + "\n")
		}
	}
}
