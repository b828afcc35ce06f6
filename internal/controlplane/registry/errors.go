package registry

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
)

// storageError makes the API error of an error that storage gave for an update.
func storageError(err error, gr schema.GroupResource, name string) error {
	return storeerr.InterpretUpdateError(err, gr, name)
}
