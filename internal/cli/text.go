package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

func redact(url string) string { return source.Redact(url) }

func objectText(r v1alpha1.ObjectRef) string { return diff.KeyOf(r).String() }

func refText(r v1alpha1.Ref) string {
	switch {
	case r.Commit != "":
		return "commit " + Short(r.Commit)
	case r.Tag != "":
		return "tag " + r.Tag
	case r.SemVer != "":
		return "versions " + r.SemVer
	case r.Branch != "":
		return r.Branch
	}
	return source.DefaultBranch
}

// Short is a revision as people read it: the beginning of a hash, or a version.
func Short(commit string) string {
	if commit == "" {
		return "-"
	}
	if len(commit) == 40 { // a chart's version is shown whole
		return commit[:12]
	}
	return commit
}

// Revision is how messages call a revision: a commit, or a chart's version.
func Revision(revision string) string {
	if len(revision) == 40 {
		return "commit " + Short(revision)
	}
	return "version " + revision
}

// ago is the time since t in the largest unit that is still exact enough to act upon.
func ago(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	switch d := now.Sub(*t); {
	case d < time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

// who names the person where known, and the tool.
func who(user, manager string) string {
	switch {
	case user != "" && manager != "":
		return user + " (" + manager + ")"
	case user != "":
		return user
	case manager != "":
		return "? (" + manager + ")"
	}
	return "-"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oneLine keeps a value from breaking the table.
func oneLine(s string, most int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func place(file string, line int) string {
	if file == "" {
		return "-"
	}
	return source.At(file, line)
}
