package configfile

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
)

// Decode reads a configuration of type T, which want names with its article ("a TracingConfiguration"). Unknown and duplicate fields are errors.
func Decode[T runtime.Object](content []byte, want string) (T, error) {
	var none T
	scheme := runtime.NewScheme()
	install.Install(scheme)
	obj, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), content)
	if err != nil {
		return none, err
	}
	config, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("it holds %T; %s of apiserver.config.k8s.io/v1 is expected", obj, want)
	}
	return config, nil
}
