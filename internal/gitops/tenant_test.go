package gitops_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func TestAnAccountThatMayNotReadIsSaidSo(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.ServiceAccountName = "nobody" })
	b.push(shop("web:1"))
	b.until("the status says what is refused", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionSynced)
		return c != nil && a.Status.Sync == "Failed" && strings.Contains(c.Message, "nothing of it was applied:\ndeploy/") && strings.Contains(c.Message, ": refused: ") &&
			strings.Contains(c.Message, "system:serviceaccount:gitopsd-system:nobody")
	})
}
