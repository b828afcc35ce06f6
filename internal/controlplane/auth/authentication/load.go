package authentication

import (
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"

	"github.com/gitopsd/gitopsd/internal/controlplane/configfile"
)

// load reads a configuration of any of its versions; unknown fields are errors. Forbidden are issuers that nobody may claim to be: this cluster itself.
func load(content []byte, forbidden []string) (*apiserver.AuthenticationConfiguration, error) {
	config, err := configfile.Decode[*apiserver.AuthenticationConfiguration](content, "an AuthenticationConfiguration")
	if err != nil {
		return nil, err
	}
	return config, validate(config, forbidden)
}

func validate(config *apiserver.AuthenticationConfiguration, forbidden []string) error {
	return validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, forbidden).ToAggregate()
}
