package validation

import (
	"errors"
	"strings"
	"sync"

	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// plainCompiler compiles expressions that know no variables but the request's. It holds several environments, of megabytes: there is one, made when the
// first expression has to be judged.
var plainCompiler = sync.OnceValue(func() plugincel.Compiler {
	return plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
})

// expressions judges the CEL expressions of one object.
type expressions struct {
	compiler plugincel.Compiler
	// params tells whether the expressions may use params.
	params bool
	// stored are those of the object that is stored already. They stay valid: a newer API server may have written them, whose functions this one reads
	// but does not let anybody begin to use.
	stored sets.Set[string]
}

// withVariables makes expressions that know the variables compiled before them.
func withVariables(params bool, stored sets.Set[string]) (expressions, error) {
	c, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	return expressions{compiler: c, params: params, stored: stored}, err
}

func (e expressions) mode(expression string) environment.Type {
	if e.stored.Has(expression) {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// compile wants an expression that parses and whose type is one that is asked for.
func (e expressions) compile(at *field.Path, accessor plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations) field.ErrorList {
	result := e.compiler.CompileCELExpression(accessor, options, e.mode(accessor.GetExpression()))
	if result.Error == nil {
		return nil
	}
	return field.ErrorList{celError(at, accessor.GetExpression(), result.Error)}
}

func celError(at *field.Path, expression string, err error) *field.Error {
	var wrong *apiservercel.Error
	if !errors.As(err, &wrong) {
		return field.InternalError(at, err)
	}
	switch wrong.Type {
	case apiservercel.ErrorTypeRequired:
		return field.Required(at, wrong.Detail)
	case apiservercel.ErrorTypeInvalid:
		return field.Invalid(at, expression, wrong.Detail)
	}
	return field.InternalError(at, wrong)
}

// isIdentifier tells whether a name can be written in an expression as it is.
func isIdentifier(name string) bool {
	if name == "" || celReserved.Has(name) {
		return false
	}
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return true
}

// celReserved are the words that the CEL specification keeps for itself.
var celReserved = sets.New(strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")...)
