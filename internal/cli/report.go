package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Report is the state of Applications, as status prints it for programs. Fields are only ever added.
type Report struct {
	// Nodes is left out when they may not be read.
	Nodes        *NodesReport        `json:"nodes,omitempty"`
	Applications []ApplicationReport `json:"applications"`
}

// ApplicationReport is the state of one Application.
type ApplicationReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Repo      string `json:"repo"`
	// Ref is the branch, tag or commit that is followed.
	Ref  string `json:"ref"`
	Path string `json:"path,omitempty"`
	// Revision is the commit that is applied, Wanted the one at the ref.
	Revision string `json:"revision"`
	Wanted   string `json:"wanted,omitempty"`
	// Sync is Synced, OutOfSync, Failed or Unknown; Health is Healthy, Progressing, Degraded or Unknown.
	Sync      string     `json:"sync"`
	Health    string     `json:"health"`
	Suspended bool       `json:"suspended,omitempty"`
	Applied   *time.Time `json:"applied,omitempty"`
	// Reason and Message are those of the condition Ready when it is not true, which it is not since Since.
	Reason  string     `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// SourceFault says, in a word, why it is not known what Git says now, or why that is not believed; empty for neither.
	SourceFault string `json:"sourceFault,omitempty"`
	// Doing is what is being done at the moment; empty for nothing.
	Doing   string `json:"doing,omitempty"`
	Objects int    `json:"objects"`
	// Omitted is how many objects of the revision spec.source.omit left out.
	Omitted   int            `json:"omitted,omitempty"`
	Drift     []DriftReport  `json:"drift"`
	Reverted  []DriftReport  `json:"reverted,omitempty"`
	Unhealthy []HealthReport `json:"unhealthy,omitempty"`
	// Next says what to do about it; empty when there is nothing to do.
	Next string `json:"next,omitempty"`
	// Tree is the objects with what they own; only when it was asked for.
	Tree []TreeNode `json:"tree,omitempty"`
}

// DriftReport is one field that is, or was, not as Git says. Git and Live are JSON; empty is absent.
type DriftReport struct {
	Object string `json:"object"`
	v1alpha1.ObjectRef
	Field   string     `json:"field,omitempty"`
	Git     string     `json:"git,omitempty"`
	Live    string     `json:"live,omitempty"`
	User    string     `json:"user,omitempty"`
	Manager string     `json:"manager,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	File    string     `json:"file,omitempty"`
	Line    int        `json:"line,omitempty"`
	// Override is why the field is left as it is, if it is.
	Override *v1alpha1.Override `json:"override,omitempty"`
}

// HealthReport is one object that is not healthy.
type HealthReport struct {
	Object string `json:"object"`
	v1alpha1.ObjectRef
	Health  string `json:"health"`
	Message string `json:"message,omitempty"`
}

// NewReport makes the report, Applications sorted by namespace and name.
func NewReport(apps []v1alpha1.Application) Report {
	r := Report{Applications: make([]ApplicationReport, 0, len(apps))}
	for i := range apps {
		r.Applications = append(r.Applications, newApplicationReport(&apps[i]))
	}
	slices.SortFunc(r.Applications, func(a, b ApplicationReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return r
}

func newApplicationReport(app *v1alpha1.Application) ApplicationReport {
	s := &app.Status
	r := ApplicationReport{
		Namespace: app.Namespace, Name: app.Name,
		Repo: redact(app.Spec.Source.URL()), Ref: refText(app.Spec.Source.Ref), Path: app.Spec.Source.Path,
		Revision: s.AppliedRevision, Wanted: s.WantedRevision,
		Sync: cmp.Or(s.Sync, "Unknown"), Health: cmp.Or(s.Health, "Unknown"), Suspended: app.Spec.Suspend,
		Objects: len(s.Inventory), Omitted: int(s.Omitted), Drift: driftReports(s.Drift), Reverted: driftReports(s.Reverted),
	}
	if len(r.Reverted) == 0 {
		r.Reverted = nil
	}
	if s.LastAppliedTime != nil {
		r.Applied = &s.LastAppliedTime.Time
	}
	for _, u := range s.Unhealthy {
		r.Unhealthy = append(r.Unhealthy, HealthReport{Object: objectText(u.ObjectRef), ObjectRef: u.ObjectRef, Health: u.Health, Message: u.Message})
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); c != nil && c.Status != metav1.ConditionTrue {
		r.Reason, r.Message, r.Since = c.Reason, c.Message, &c.LastTransitionTime.Time
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSourceReady); c != nil && c.Status == metav1.ConditionFalse {
		r.SourceFault = c.Reason
	}
	r.Doing = doing(app)
	r.Next = next(app, &r)
	return r
}

func driftReports(list []v1alpha1.FieldDrift) []DriftReport {
	out := make([]DriftReport, 0, len(list))
	for _, d := range list {
		r := DriftReport{
			Object: objectText(d.ObjectRef), ObjectRef: d.ObjectRef, Field: d.Field, Git: d.Want, Live: d.Live,
			User: d.User, Manager: d.Manager, File: d.File, Line: d.Line, Override: d.Override,
		}
		if d.Time != nil {
			r.Since = &d.Time.Time
		}
		out = append(out, r)
	}
	return out
}

// doing is what gitopsd is about.
func doing(app *v1alpha1.Application) string {
	s := &app.Status
	asked := app.Annotations[v1alpha1.AnnotationRequestedAt]
	switch ro := s.Rollout; {
	case app.DeletionTimestamp != nil:
		return "deleting its objects"
	case app.Spec.Suspend:
		return ""
	case s.ObservedGeneration < app.Generation:
		return "taking up the spec"
	case asked != "" && asked != s.HandledRequest:
		return "looking at Git, as somebody asked"
	case ro != nil && ro.Phase != "Failed":
		return fmt.Sprintf("applying %s: %s, step %d of %d", Revision(ro.Revision), ro.Phase, ro.Step, ro.Steps)
	case s.Sync == "Synced" && s.Health == "Progressing":
		return "waiting for objects to become healthy"
	}
	return ""
}

// next is the one thing that the reader can do about the worst of what is wrong.
func next(app *v1alpha1.Application, r *ApplicationReport) string {
	switch {
	case r.Suspended:
		return "gitopsd resume " + app.Name + " -n " + app.Namespace + " to go on"
	case app.Status.ObservedGeneration == 0:
		return "wait; gitopsd has not looked at it yet"
	case r.Reason == "RolledBack":
		return "push a fix, or run: gitopsd sync " + app.Name + " -n " + app.Namespace
	case r.Reason == "Refused" || r.Reason == "InvalidManifest":
		fix := "fix what the message says and push"
		if r.Revision == "" {
			return fix
		}
		return fix + "; " + Revision(r.Revision) + " stays applied"
	case r.Reason == "Denied":
		return "have the account " + app.Namespace + "/" + app.Spec.ServiceAccountName + ", which spec.serviceAccountName names, given the right that the message names, or take the object out of Git; " +
			"gitopsd tries again with each look at Git"
	case r.Reason == "PathNotFound":
		return "set spec.source.path to a folder of the repository, or push a commit that has it"
	case r.Reason == "SignatureRefused":
		return "have it signed with a key of the Secret that spec.source.verify names, or add its key there"
	case r.Reason == "RolloutFailed":
		return "push a fix, or try it again with: gitopsd sync " + app.Name + " -n " + app.Namespace
	case r.Sync == "Failed", r.SourceFault != "":
		return "the message says what is in the way; gitopsd tries again by itself"
	case slices.ContainsFunc(r.Drift, func(d DriftReport) bool { return d.Override != nil }):
		return "put the change into Git, then take the annotation " + v1alpha1.AnnotationOverride + " away"
	case len(r.Drift) > 0 && app.Spec.Drift == v1alpha1.DriftReport:
		return "put the change into Git, or set spec.drift to revert"
	case r.Sync == "Synced" && r.Health == "Healthy" && r.Objects == 0 && len(app.Status.Hooks) == 0:
		there := "where there are none"
		if len(app.Spec.Source.Omit) > 0 {
			there += " but those that spec.source.omit leaves out"
		}
		return "push manifests (*.yaml, *.yml, *.json), a kustomization.yaml or a Helm chart to spec.source.path, " + there
	case r.Health == "Degraded":
		return "look at the objects above with kubectl describe"
	}
	return ""
}

// Exit statuses of status and plan with --exit-code.
const (
	// ExitInSync: everything is as Git says.
	ExitInSync = 0
	// ExitError: the answer is not known; also any command's failure.
	ExitError = 1
	// ExitOutOfSync: something drifted, was refused, is behind, has never been applied, or cannot be read in Git.
	ExitOutOfSync = 2
	// ExitUnhealthy: everything is as Git says, and something of it does not work.
	ExitUnhealthy = 3
)

// ExitCode sums the report up.
func (r Report) ExitCode() int {
	code := ExitInSync
	for _, a := range r.Applications {
		switch {
		case a.Sync != "Synced" || len(a.Drift) > 0 || a.SourceFault != "":
			return ExitOutOfSync
		case a.Health != "Healthy":
			code = ExitUnhealthy
		}
	}
	return code
}
