package columns

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Table is how the objects of one kind are shown.
type Table[T any] struct {
	Columns []metav1.TableColumnDefinition
	// Row returns one cell for each column. It bears any object that decodes, however incomplete.
	Row func(T) []any
}

// now is the only clock of the package; tests stop it.
var now = time.Now

const (
	none    = "<none>"
	unknown = "<unknown>"
	unset   = "<unset>"
)

// wide is the priority of columns that only `-o wide` shows.
const wide = 1

func name() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: "Name of the object, unique in its namespace"}
}

func age() metav1.TableColumnDefinition {
	return text("Age", "Time since the object was created")
}

func text(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

func integer(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

func boolean(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

func wideText(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: wide, Description: description}
}

// ageOf is the time since a moment in the largest units that matter, such as "5d3h".
func ageOf(t metav1.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now().Sub(t.Time))
}

func microAgeOf(t metav1.MicroTime) string {
	return ageOf(metav1.NewTime(t.Time))
}

// orNone shows that a value is missing.
func orNone(value string) string {
	if value == "" {
		return none
	}
	return value
}

// kindName names a kind as people type it: in lower case, with its group after a point.
func kindName(group, kind string) string {
	if group == "" {
		return strings.ToLower(kind)
	}
	return strings.ToLower(kind) + "." + group
}

func joinOrNone(values []string) string {
	return orNone(strings.Join(values, ","))
}

// deref is what a pointer points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
