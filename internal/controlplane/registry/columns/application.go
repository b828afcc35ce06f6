package columns

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Application shows whether the cluster is what Git says.
var Application = Table[*v1alpha1.Application]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Sync", "Whether the wanted commit is applied"),
		text("Health", "Whether everything applied is healthy"),
		text("Revision", "Commit that is applied"),
		integer("Drift", "Fields whose live value is not Git's"),
		age(),
		wideText("Repo", "Repository"),
		wideText("Path", "Folder in the repository"),
	},
	Row: func(a *v1alpha1.Application) []any {
		sync, health := cmp.Or(a.Status.Sync, "Unknown"), cmp.Or(a.Status.Health, "Unknown")
		if a.Spec.Suspend {
			sync += ",Suspended"
		}
		return []any{
			a.Name, sync, health, orNone(shortRevision(a.Status.AppliedRevision)), int64(len(a.Status.Drift)),
			ageOf(a.CreationTimestamp), a.Spec.Source.URL(), cmp.Or(a.Spec.Source.Path, "."),
		}
	},
}

// shortRevision is as many digits of a commit's hash as people read out to each other.
func shortRevision(revision string) string {
	const digits = 8
	if len(revision) == 40 { // a chart's version is shown whole
		return revision[:digits]
	}
	return revision
}
