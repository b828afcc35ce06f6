package health

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Checks are an Application's own words on when objects of a kind are healthy. A nil Checks has none.
type Checks struct{ list []check }

// check is one of them, compiled. failed and inProgress may be nil.
type check struct {
	group, kind                 string
	failed, inProgress, current *expression
}

// expression is a compiled expression with its text, which messages quote.
type expression struct {
	text    string
	program cel.Program
}

// CheckError is an expression that is none.
type CheckError struct {
	// Index is that of the check, Field the expression's name in it.
	Index   int
	Field   string
	Message string
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("spec.healthChecks[%d].%s: %s", e.Index, e.Field, e.Message)
}

// variables are an object's fields that expressions see under their own names.
var variables = []string{"metadata", "spec", "status", "data"}

// maxCost bounds what one expression may cost, in units of CEL; that of a filter over a hundred conditions is a few thousand.
const maxCost = 1_000_000

// env has CEL's standard library and Kubernetes' extensions, the same that policies and definitions may use.
var env = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{cel.Variable("object", cel.DynType)}
	for _, v := range variables {
		options = append(options, cel.Variable(v, cel.DynType))
	}
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	set, err := base.Extend(environment.VersionedOptions{IntroducedVersion: environment.DefaultCompatibilityVersion(), EnvOptions: options})
	if err != nil {
		return nil, err
	}
	return set.Env(environment.StoredExpressions)
})

// Compile reads checks. Its error is a CheckError, or that of an environment that cannot be made.
func Compile(checks []v1alpha1.HealthCheck) (*Checks, error) {
	if len(checks) == 0 {
		return nil, nil
	}
	e, err := env()
	if err != nil {
		return nil, fmt.Errorf("making CEL's environment: %w", err)
	}
	c := &Checks{}
	for i, h := range checks {
		k := check{group: h.Group, kind: h.Kind}
		for _, x := range []struct {
			name, text string
			into       **expression
		}{{"failed", h.Failed, &k.failed}, {"inProgress", h.InProgress, &k.inProgress}, {"current", h.Current, &k.current}} {
			if x.text == "" {
				continue
			}
			ast, issues := e.Compile(x.text)
			if issues.Err() != nil {
				return nil, &CheckError{i, x.name, issues.Err().Error()}
			}
			if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
				return nil, &CheckError{i, x.name, "must be true or false, and is of type " + t.String()}
			}
			program, err := e.Program(ast, cel.CostLimit(maxCost))
			if err != nil {
				return nil, &CheckError{i, x.name, err.Error()}
			}
			*x.into = &expression{x.text, program}
		}
		c.list = append(c.list, k)
	}
	return c, nil
}

// Of returns the verdict about an object: that of the first check for its kind, or else what Of says.
func (c *Checks) Of(u *unstructured.Unstructured) Health {
	if c == nil || u.GetDeletionTimestamp() != nil {
		return Of(u)
	}
	gk := u.GroupVersionKind().GroupKind()
	for _, k := range c.list {
		if k.group == gk.Group && k.kind == gk.Kind {
			return k.of(object{u})
		}
	}
	return Of(u)
}

func (k check) of(o object) Health {
	if yes, _ := k.failed.is(o); yes {
		return degraded("spec.healthChecks calls it failed: %s%s", k.failed.text, said(o))
	}
	if yes, _ := k.inProgress.is(o); yes {
		return progressing("spec.healthChecks calls it in progress: %s%s", k.inProgress.text, said(o))
	}
	switch yes, err := k.current.is(o); {
	case err != nil: // as a rule a field that is not there yet
		return progressing("spec.healthChecks: %s: %v", k.current.text, err)
	case !yes:
		return progressing("spec.healthChecks: not yet: %s%s", k.current.text, said(o))
	}
	return healthy
}

// said is what the object's own conditions say, which an expression does not.
func said(o object) string {
	for _, kind := range []string{"Ready", "Available", "Synced", "Healthy"} {
		if c, ok := o.condition(kind); ok && c.status != "True" && c.why() != "" {
			return "; " + c.why()
		}
	}
	return ""
}

// is evaluates the expression; no expression is false. A field that the object does not have is empty, one within it an error.
func (x *expression) is(o object) (bool, error) {
	if x == nil {
		return false, nil
	}
	input := map[string]any{"object": o.Object}
	for _, v := range variables {
		if input[v] = o.Object[v]; input[v] == nil {
			input[v] = map[string]any{}
		}
	}
	out, _, err := x.program.Eval(input)
	if err != nil {
		return false, err
	}
	return out == types.True, nil
}
