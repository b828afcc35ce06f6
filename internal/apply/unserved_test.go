package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gitopsd/gitopsd/internal/source"
)

// The script in testdata/unserved shows what the author of an object is told whose kind is not served.
//
//	kind [versions=(GROUP/VERSION,...)]    the object; the versions in which the cluster serves its kind
func TestAKindThatIsNotServedIsRefusedWithWhatToDo(t *testing.T) {
	datadriven.RunTest(t, "testdata/unserved", func(t *testing.T, d *datadriven.TestData) string {
		objects, err := source.Parse([]source.File{{Path: "x.yaml", Data: []byte(d.Input)}}, source.From{})
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		var versions []string
		for _, a := range d.CmdArgs {
			versions = append(versions, a.Vals...)
		}
		e := unserved(objects[0], versions)
		return fmt.Sprintf("%s\nmay pass later: %t\n", strings.TrimSpace(e.Error()), e.Temporary)
	})
}
