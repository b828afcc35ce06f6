package pod

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/kubelet/sysctl"
)

func TestPodsThatTheNodeMustNotRunAreTurnedAway(t *testing.T) {
	allowed, err := sysctl.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"disk": "ssd"}}}
	for spec, want := range map[string]string{
		`{}`:                                     "",
		`{os: {name: linux}}`:                    "",
		`{os: {name: windows}}`:                  "PodOSNotSupported",
		`{nodeSelector: {disk: ssd}}`:            "",
		`{nodeSelector: {disk: hdd}}`:            "NodeAffinity",
		`{nodeSelector: {"not a label": "x y"}}`: "NodeAffinity",
		`{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: DoesNotExist}]}]}}}}`:      "NodeAffinity",
		`{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: disk, operator: DoesNotExist}]}}]}}}`: "",
		`{securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}}`:                                                                                                   "SysctlForbidden",
		`{containers: [{name: c, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}`:                                                                               "AppArmor",
	} {
		pod := &v1.Pod{}
		if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
			t.Fatal(err)
		}
		got := Rules{Sysctls: allowed, Node: func() *v1.Node { return node }}.Refuse(pod)
		switch {
		case got == nil && want != "", got != nil && got.Reason != want:
			t.Errorf("%s: %v, want %q", spec, got, want)
		case got != nil && !strings.HasPrefix(got.Message, "Pod was rejected: "):
			t.Errorf("%s: the message is %q", spec, got.Message)
		}
		if unknown := (Rules{Sysctls: allowed, Node: func() *v1.Node { return nil }}).Refuse(pod); want == "NodeAffinity" && unknown != nil {
			t.Errorf("%s: %v though nobody knows the node's labels yet", spec, unknown)
		}
	}
}
