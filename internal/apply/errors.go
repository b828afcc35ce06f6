package apply

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Error is one thing wrong with one object from Git.
type Error struct {
	Source *source.Object
	// Field is the field's path; empty when the object as a whole is meant.
	Field   string
	Message string
	// Temporary says that the same request may succeed later without a change in Git.
	Temporary bool
	// Removed says that what was to make room for the object is deleted already, so that the cluster is no longer as it was.
	Removed bool
	// Denied says that the account which the Application is applied as lacks a right.
	Denied bool
	// Err is what the server answered, if it was asked.
	Err error
}

// Error is "file:line: Kind namespace/name: field: message".
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s: %s: %s", e.Source.Position(), e.Source, e.Message)
	}
	return fmt.Sprintf("%s: %s: %s: %s", source.At(e.Source.Place(e.Field)), e.Source, e.Field, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errors is everything found wrong with one commit, one a line, in the order of the files.
type Errors []*Error

const shownErrors = 20

func (e Errors) Error() string {
	sorted := slices.Clone(e)
	slices.SortStableFunc(sorted, func(a, b *Error) int {
		if c := strings.Compare(a.Source.Origin.File, b.Source.Origin.File); c != 0 {
			return c
		}
		return a.Source.Line(a.Field) - b.Source.Line(b.Field)
	})
	var lines []string
	for i, p := range sorted {
		if i == shownErrors {
			lines = append(lines, fmt.Sprintf("and %d more", len(sorted)-i))
			break
		}
		if s := p.Error(); !slices.Contains(lines, s) {
			lines = append(lines, s)
		}
	}
	return strings.Join(lines, "\n")
}

// Temporary says that at least one of the errors may go away by itself.
func (e Errors) Temporary() bool {
	return slices.ContainsFunc(e, func(x *Error) bool { return x.Temporary })
}

// Removed says that something was deleted before an object could not be written.
func (e Errors) Removed() bool {
	return slices.ContainsFunc(e, func(x *Error) bool { return x.Removed })
}

// Denied says that at least one of the errors is the lack of a right.
func (e Errors) Denied() bool {
	return slices.ContainsFunc(e, func(x *Error) bool { return x.Denied })
}

var (
	unknownField   = regexp.MustCompile(`unknown field "([^"]+)"`)
	duplicateField = regexp.MustCompile(`duplicate field "([^"]+)"`)
	notDeclared    = regexp.MustCompile(`\.(\S+): field not declared in schema`)
	wrongType      = regexp.MustCompile(`\.(\S+): expected ([^,]+), got (\S+)`)
	goField        = regexp.MustCompile(`cannot unmarshal (\S+) into Go struct field [A-Za-z0-9]+\.(\S+) of type (\S+)`)
	quantity       = regexp.MustCompile(`quantities must match the regular expression`)
	lacksRight     = regexp.MustCompile(`User "system:serviceaccount:([^":]+):([^":]+)" cannot \S+ resource "[^"]+" in API group "[^"]*" (?:in the namespace "([^"]+)"|at the cluster scope)`)
	absentAccount  = regexp.MustCompile(`serviceaccount "([^"]+)" not found`)
)

// explain turns the server's answer about an object into what its author can act on. The server speaks of Go types, of strict decoding and
// of schemas; the author wrote a file.
func explain(s *source.Object, err error) Errors {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return Errors{{Source: s, Message: err.Error(), Temporary: true, Err: err}}
	}
	st := status.Status()
	if found := fieldErrors(s, st.Message); len(found) > 0 {
		for _, f := range found {
			f.Err = err
			f.Message += variableHint(s, f.Field)
		}
		return found
	}
	if apierrors.IsInvalid(err) && st.Details != nil && len(st.Details.Causes) > 0 {
		var out Errors
		for _, c := range st.Details.Causes {
			out = append(out, &Error{Source: s, Field: strings.TrimPrefix(c.Field, "<nil>"), Message: remedy(c) + variableHint(s, c.Field), Err: err})
		}
		return out
	}
	e := &Error{Source: s, Message: st.Message, Err: err}
	switch {
	case isMissingNamespace(err):
		e.Field = "metadata.namespace"
		e.Message = fmt.Sprintf("namespace %q does not exist; add a Namespace object to the commit, or create it first", st.Details.Name)
		e.Temporary = true
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		e.Field = "metadata.namespace"
		e.Message = "the namespace is being deleted; wait until it is gone, or use another"
		e.Temporary = true
	case apierrors.IsForbidden(err):
		e.Message = "refused: " + st.Message
		if m := lacksRight.FindStringSubmatch(st.Message); m != nil {
			e.Denied = true
			e.Message += "; " + grant(m[1], m[2], m[3])
		}
		e.Temporary = true
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
		e.Message = "the cluster no longer serves this kind: " + st.Message
		e.Temporary = true
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		e.Temporary = true
	case apierrors.IsInternalError(err):
		e.Temporary = true
	}
	return Errors{e}
}

// grant says how an account is given what it may not do in a namespace, or everywhere.
func grant(of, account, namespace string) string {
	role, binding := "ClusterRole", "ClusterRoleBinding"
	if namespace != "" {
		role, binding = fmt.Sprintf("Role of the namespace %q", namespace), "RoleBinding there"
	}
	return fmt.Sprintf("to allow it, give the account %s/%s a %s that does, by a %s, or name another account in spec.serviceAccountName", of, account, role, binding)
}

// fieldErrors finds the fields that a message about decoding speaks of.
func fieldErrors(s *source.Object, message string) Errors {
	var out Errors
	add := func(field, text string) {
		out = append(out, &Error{Source: s, Field: strings.TrimSuffix(field, ":"), Message: text})
	}
	for _, m := range unknownField.FindAllStringSubmatch(message, -1) {
		add(m[1], unknown(s, m[1]))
	}
	for _, m := range duplicateField.FindAllStringSubmatch(message, -1) {
		add(m[1], "is there twice; remove one")
	}
	for _, m := range notDeclared.FindAllStringSubmatch(message, -1) {
		add(m[1], unknown(s, m[1]))
	}
	for _, m := range wrongType.FindAllStringSubmatch(message, -1) {
		add(m[1], mustBe(m[2], s, m[1]))
	}
	for _, m := range goField.FindAllStringSubmatch(message, -1) {
		add(m[2], mustBe(m[3], s, m[2]))
	}
	if len(out) == 0 && quantity.MatchString(message) {
		const text = `a quantity cannot be read; write it like "500m", "1.5" or "128Mi"`
		for _, f := range badQuantities(s.Content, "") {
			add(f, text)
		}
		if len(out) == 0 {
			add("", text)
		}
	}
	return out
}

// holdQuantities are the fields whose values are quantities wherever they occur in the built-in kinds.
var holdQuantities = map[string]bool{"requests": true, "limits": true, "capacity": true, "hard": true, "overhead": true}

// badQuantities finds the values that the server could not read as quantities; it does not say which it was.
func badQuantities(v any, path string) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			below := strings.TrimPrefix(path+"."+k, ".")
			values, isMap := v[k].(map[string]any)
			if !holdQuantities[k] || !isMap {
				out = append(out, badQuantities(v[k], below)...)
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(values)) {
				if text, ok := values[name].(string); ok {
					if _, err := resource.ParseQuantity(text); err != nil {
						out = append(out, below+"."+name)
					}
				}
			}
		}
	case []any:
		for i, item := range v {
			out = append(out, badQuantities(item, fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return out
}

// mustBe says what type a field needs. want is a Go type's name or the schema's word for it.
func mustBe(want string, s *source.Object, field string) string {
	words, hint := want, ""
	switch {
	case strings.HasPrefix(want, "int"), strings.HasPrefix(want, "uint"):
		words = "a whole number"
	case strings.HasPrefix(want, "numeric"), strings.HasPrefix(want, "float"):
		words = "a number"
		// The schema does not tell whole numbers from others; the Go type does.
		if t := typeOf(s, parts(field)); t != nil && strings.HasPrefix(indirect(t).Kind().String(), "int") {
			words = "a whole number"
		}
	case want == "string":
		words, hint = "a string", "; put it in quotes"
	case want == "bool", want == "boolean":
		words = "true or false"
	case strings.HasPrefix(want, "[]"), want == "list":
		words = "a list"
	case strings.HasPrefix(want, "map"), strings.Contains(want, "."), want == "struct":
		words = "a map"
	}
	gvk := s.GroupVersionKind()
	secret := diff.Show(v1alpha1.ObjectRef{Group: gvk.Group, Kind: gvk.Kind}, field, nil) == diff.Hidden
	if v, ok := s.Value(field); ok && !secret {
		if text, ok := shortValue(v); ok {
			return fmt.Sprintf("must be %s, got %s%s", words, text, hint)
		}
	}
	return fmt.Sprintf("must be %s%s", words, hint)
}

func shortValue(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		if len(v) > 40 {
			return fmt.Sprintf("%q…", v[:40]), true
		}
		return fmt.Sprintf("%q", v), true
	case map[string]any:
		return "a map", true
	case []any:
		return "a list", true
	case nil:
		return "nothing", true
	case bool, int64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// remedy adds to a cause what to do, where the server's words leave that open.
func remedy(c metav1.StatusCause) string {
	if strings.Contains(c.Message, "field is immutable") {
		return c.Message + "; it can only be set when the object is created: give the new one another name, or annotate it with gitopsd.io/replace: \"true\" to have it deleted and made anew"
	}
	return c.Message
}

// variableHint says of a refused value with a variable in it, as manifests for Flux have them, how variables are replaced.
func variableHint(s *source.Object, field string) string {
	if v, ok := s.Value(field); ok {
		if text, ok := v.(string); ok && strings.Contains(text, "${") {
			return "; variables are replaced where spec.source.substitute gives them values"
		}
	}
	return ""
}

func isMissingNamespace(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces"
}
