package serviceaccount

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDecide reads a Namespace from the arguments of "decide": account, ca=TEXT (the ConfigMap's content), terminating, gone.
func TestDecide(t *testing.T) {
	datadriven.RunTest(t, "testdata/decide.txt", func(t *testing.T, d *datadriven.TestData) string {
		o := Observed{Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, CA: "right"}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "account":
				o.Account = &corev1.ServiceAccount{}
			case "ca":
				o.RootCA = &corev1.ConfigMap{Data: map[string]string{rootCAKey: a.Vals[0]}}
			case "more":
				o.RootCA.Data["more"] = "x"
			case "terminating":
				o.Namespace.DeletionTimestamp = &metav1.Time{}
			case "gone":
				o.Namespace = nil
			}
		}
		a := Decide(o)
		var b strings.Builder
		if a.CreateAccount != nil {
			b.WriteString("create ServiceAccount " + a.CreateAccount.Namespace + "/" + a.CreateAccount.Name + "\n")
		}
		if a.CreateRootCA != nil {
			b.WriteString("create ConfigMap " + a.CreateRootCA.Namespace + "/" + a.CreateRootCA.Name + "\n")
		}
		if a.UpdateRootCA != nil {
			b.WriteString("set the ConfigMap right\n")
		}
		if b.Len() == 0 {
			return "nothing\n"
		}
		return b.String()
	})
}
