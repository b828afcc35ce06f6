package policystatus_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/policystatus"
)

func policy(name, expression, message string) *admissionregistrationv1.ValidatingAdmissionPolicy {
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: expression, MessageExpression: message}},
		},
	}
}

func TestAPolicySaysWhichOfItsExpressionsDoNotFitTheirTypes(t *testing.T) {
	e := controllerstest.New(t)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(e.Discovery))
	e.Start(t, policystatus.New(e.Client, e.Factory, e.Discovery, mapper).Run)
	policies := e.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	// checked waits until what is stored has been checked, and says what was found: field and the words by which one knows the warning.
	checked := func(name string) map[string]string {
		t.Helper()
		found := map[string]string{}
		controllerstest.Eventually(t, "policy "+name+" is checked", func() bool {
			p, err := policies.Get(e.Ctx, name, metav1.GetOptions{})
			if err != nil || p.Status.ObservedGeneration != p.Generation {
				return false
			}
			if p.Status.TypeChecking == nil {
				return true
			}
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				found[w.FieldRef] = w.Warning
			}
			return true
		})
		return found
	}
	for name, test := range map[string]struct {
		expression, message string
		want                map[string]string
	}{
		"good":             {"object.spec.replicas <= 5", "'at most ' + string(5)", nil},
		"a-field-too-much": {"object.spec.replicaz <= 5", "", map[string]string{"spec.validations[0].expression": "undefined field 'replicaz'"}},
		"a-wrong-type":     {"object.spec.replicas <= '5'", "", map[string]string{"spec.validations[0].expression": "no matching overload for '_<=_'"}},
		"a-wrong-message":  {"true", "string(object.spec.nothing)", map[string]string{"spec.validations[0].messageExpression": "undefined field 'nothing'"}},
	} {
		if _, err := policies.Create(e.Ctx, policy(name, test.expression, test.message), metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := checked(name)
		if len(got) != len(test.want) {
			t.Errorf("%s: %d warnings, want %d: %v", name, len(got), len(test.want), got)
		}
		for at, words := range test.want {
			if w := got[at]; !strings.Contains(w, words) || !strings.Contains(w, "apps/v1, Kind=Deployment") {
				t.Errorf("%s: %s: %q does not say %q of apps/v1, Kind=Deployment", name, at, w, words)
			}
		}
	}
	// A change is checked anew.
	p, err := policies.Get(e.Ctx, "a-field-too-much", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Validations[0].Expression = "object.spec.replicas <= 5"
	if _, err := policies.Update(e.Ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := checked("a-field-too-much"); len(got) != 0 {
		t.Errorf("after the mistake is gone: %v", got)
	}
}
