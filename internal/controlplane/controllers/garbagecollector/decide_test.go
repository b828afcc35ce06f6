package garbagecollector

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestDecide reads an object from the arguments of "decide": owner=(NAME:STATE,…), dependent=(NAME[:blocks][:waits],…), deleting, finalizer=(F,…).
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		var o Observed
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "owner":
				for _, v := range a.Vals {
					name, state, _ := strings.Cut(v, ":")
					o.Owners = append(o.Owners, Owner{OwnerReference: metav1.OwnerReference{UID: types.UID(name)}, State: OwnerState(state)})
				}
			case "dependent":
				for _, v := range a.Vals {
					name, _, _ := strings.Cut(v, ":")
					o.Dependents = append(o.Dependents, Dependent{UID: types.UID(name), Blocks: strings.Contains(v, ":blocks"), Waits: strings.Contains(v, ":waits")})
				}
			case "deleting":
				o.Deleting = true
			case "finalizer":
				o.Finalizers = a.Vals
			default:
				t.Fatalf("no such argument: %s", a.Key)
			}
		}
		return printed(Decide(o))
	})
}

func printed(a Actions) string {
	var b strings.Builder
	if a.Orphan {
		b.WriteString("release the dependents\n")
	}
	if a.RemoveFinalizer != "" {
		fmt.Fprintf(&b, "remove the finalizer %s\n", a.RemoveFinalizer)
	}
	if len(a.Drop) > 0 {
		fmt.Fprintf(&b, "drop the references to %v\n", a.Drop)
	}
	if a.Unblock {
		b.WriteString("stop blocking its owners\n")
	}
	if a.Delete != "" {
		fmt.Fprintf(&b, "delete, %s\n", a.Delete)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
