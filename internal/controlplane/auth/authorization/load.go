package authorization

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
)

var knownTypes = []apiserver.AuthorizerType{apiserver.TypeWebhook, typeNode, typeRBAC, typeAlwaysAllow, typeAlwaysDeny}

// read reads a configuration of any of its versions; unknown fields are errors.
func read(content []byte, compiler authorizationcel.Compiler) (*apiserver.AuthorizationConfiguration, error) {
	if len(content) == 0 {
		return nil, errors.New("the file is empty; an AuthorizationConfiguration of apiserver.config.k8s.io/v1 is expected")
	}
	config, err := load.LoadFromData(content)
	if err != nil {
		return nil, err
	}
	types := sets.New[string]()
	for _, t := range knownTypes {
		types.Insert(string(t))
	}
	errs := validation.ValidateAuthorizationConfiguration(compiler, nil, config, types, sets.New(string(apiserver.TypeWebhook)))
	if err := errs.ToAggregate(); err != nil {
		return nil, err
	}
	for i, a := range config.Authorizers {
		// Webhooks are told apart by their names, of the others there is one each.
		if want := strings.ToLower(string(a.Type)); a.Type != apiserver.TypeWebhook && a.Name != want {
			return nil, fmt.Errorf("authorizers[%d].name: an authorizer of type %s is named %q, not %q", i, a.Type, want, a.Name)
		}
	}
	return config, nil
}
