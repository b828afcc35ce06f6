package reconcile

import (
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// Listen registers h for the events of inf and returns what says that h has been told of every object that existed when inf started.
// It panics on failure, which can only be an informer already shut down: a mistake in the program's order, not in its input.
func Listen(inf cache.SharedInformer, h cache.ResourceEventHandler) cache.InformerSynced {
	reg, err := inf.AddEventHandler(h)
	if err != nil {
		panic(fmt.Sprintf("adding an event handler: %v", err))
	}
	return reg.HasSynced
}
