package directive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// The annotations of others. Sources: Argo CD's user guide (Sync Phases and Waves, Sync Options), Flux's Kustomization API (Controlling the apply
// behavior of resources), Helm's chart hooks and resource policy.
const (
	argoHook         = "argocd.argoproj.io/hook"
	argoDeletePolicy = "argocd.argoproj.io/hook-delete-policy"
	argoWave         = "argocd.argoproj.io/sync-wave"
	argoOptions      = "argocd.argoproj.io/sync-options"

	fluxPrune     = "kustomize.toolkit.fluxcd.io/prune"
	fluxForce     = "kustomize.toolkit.fluxcd.io/force"
	fluxApply     = "kustomize.toolkit.fluxcd.io/ssa"
	fluxReconcile = "kustomize.toolkit.fluxcd.io/reconcile"

	helmHook         = "helm.sh/hook"
	helmWeight       = "helm.sh/hook-weight"
	helmDeletePolicy = "helm.sh/hook-delete-policy"
	helmResource     = "helm.sh/resource-policy"
)

// Error is an annotation whose value means nothing.
type Error struct {
	Annotation string
	Message    string
}

func (e *Error) Error() string { return e.Field() + ": " + e.Message }

// Field is the path of the annotation in its object.
func (e *Error) Field() string { return "metadata.annotations[" + e.Annotation + "]" }

// Set is everything that an object's annotations ask for. The zero value asks for nothing.
type Set struct {
	// Wave orders objects within their phase: lower ones are applied, and healthy, first.
	Wave int
	// Hooks are the moments of a sync at which the object is made anew and run to its end, instead of being kept; none for an ordinary object.
	Hooks []Hook
	// Delete says when a hook's object is deleted.
	Delete DeletePolicy
	// Keep lets the object stay in the cluster when Git drops it. It is read off the live object too, because Git may have nothing more to say.
	Keep bool
	// Replace deletes and makes the object anew where the server refuses to change it.
	Replace bool
	// Once makes the object if it is missing and leaves it to others from then on.
	Once bool
	// WaitForKind lets the commit be applied without the object while the cluster does not know its kind.
	WaitForKind bool
	// Leave keeps hands off the object altogether: it is neither made, changed, compared nor pruned.
	Leave bool
}

// Read returns what the annotations ask for. Its error is the first annotation whose value means nothing; nil when all do.
func Read(annotations map[string]string) (Set, *Error) {
	r := reader{annotations: annotations}
	s := Set{Wave: r.wave(), Hooks: r.hooks()}
	if len(s.Hooks) > 0 {
		s.Delete = r.deletePolicy()
	}
	s.Keep = Keeps(annotations)
	options := r.options()
	s.Replace = r.says(v1alpha1.AnnotationReplace, "true") || options["Replace"] == "true" || options["Force"] == "true" || r.says(fluxForce, "enabled")
	apply := r.oneOf(fluxApply, "Override", "Merge", "IfNotPresent", "Ignore")
	s.Once = apply == "IfNotPresent" || r.says(v1alpha1.AnnotationReconcile, "once")
	s.WaitForKind = options["SkipDryRunOnMissingResource"] == "true" || r.says(v1alpha1.AnnotationWaitForKind, "true")
	s.Leave = apply == "Ignore" || r.says(fluxReconcile, "disabled") || r.says(v1alpha1.AnnotationReconcile, "disabled") || skipped(annotations)
	return s, r.err
}

// Keeps says whether annotations protect their object from being pruned; those that ask to leave it alone do.
func Keeps(annotations map[string]string) bool {
	r := reader{annotations: annotations}
	return r.says(v1alpha1.AnnotationReconcile, "disabled") || r.says(fluxReconcile, "disabled") || r.says(v1alpha1.AnnotationPrune, "disabled") || r.says(fluxPrune, "disabled") || r.options()["Prune"] == "false" || r.says(helmResource, "keep")
}

// skipped is what Argo CD calls a hook that never runs.
func skipped(annotations map[string]string) bool {
	return annotations[v1alpha1.AnnotationHook] == "" && slices.ContainsFunc(words(annotations[argoHook]), func(w string) bool { return strings.EqualFold(w, "Skip") })
}

// reader reads annotations and remembers the first that it could not.
type reader struct {
	annotations map[string]string
	err         *Error
}

func (r *reader) fail(name, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{name, fmt.Sprintf(format, args...)}
	}
}

// says tells whether an annotation has the value, in whatever case.
func (r *reader) says(name, value string) bool { return strings.EqualFold(r.annotations[name], value) }

// oneOf returns the value of an annotation in the case of the list, and refuses one that is not in it; empty when there is no such annotation.
func (r *reader) oneOf(name string, values ...string) string {
	text, ok := r.annotations[name]
	if !ok {
		return ""
	}
	for _, v := range values {
		if strings.EqualFold(v, text) {
			return v
		}
	}
	r.fail(name, "must be one of %s, got %q", strings.Join(values, ", "), text)
	return ""
}

// wave: of Helm's weights only those of hooks count, as in Helm.
func (r *reader) wave() int {
	names := []string{v1alpha1.AnnotationWave, argoWave}
	if r.annotations[helmHook] != "" {
		names = append(names, helmWeight)
	}
	for _, name := range names {
		text, ok := r.annotations[name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < minWave || n > maxWave {
			r.fail(name, "must be a whole number from %d to %d in quotes, got %q", minWave, maxWave, text)
		}
		return n
	}
	return 0
}

// minWave and maxWave are the numbers that every dialect can write.
const minWave, maxWave = -1 << 31, 1<<31 - 1

// options are Argo CD's sync options, a list of Name=value.
func (r *reader) options() map[string]string {
	out := map[string]string{}
	for _, w := range words(r.annotations[argoOptions]) {
		name, value, _ := strings.Cut(w, "=")
		out[name] = value
	}
	return out
}

// words splits a list at its commas.
func words(text string) []string {
	var out []string
	for w := range strings.SplitSeq(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}
