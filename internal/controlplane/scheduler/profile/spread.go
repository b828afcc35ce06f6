package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
)

// defaultSpread says how Pods that do not say it themselves are spread: by WorkloadSpread (System), or by the constraints that are listed (List), which may be none.
func defaultSpread(p *core.Profile, args *configv1.PodTopologySpreadArgs) error {
	switch args.DefaultingType {
	case configv1.SystemDefaulting, "":
		if len(args.DefaultConstraints) > 0 {
			return fmt.Errorf("args.defaultConstraints: there are %d, which only count with defaultingType: List", len(args.DefaultConstraints))
		}
		return nil
	case configv1.ListDefaulting:
	default:
		return fmt.Errorf("args.defaultingType: is %q; there are System and List", args.DefaultingType)
	}
	for i := range args.DefaultConstraints {
		c := &args.DefaultConstraints[i]
		err := checkDefault(c)
		if err == nil && slices.ContainsFunc(args.DefaultConstraints[:i], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
		}) {
			err = fmt.Errorf("another has the topologyKey %s and whenUnsatisfiable %s already", c.TopologyKey, c.WhenUnsatisfiable)
		}
		if err != nil {
			return fmt.Errorf("args.defaultConstraints[%d]: %w", i, err)
		}
	}
	disableScore(p, plugins.WorkloadSpread{}.Name())
	replaceFilter(p, plugins.TopologySpread{Defaults: args.DefaultConstraints})
	replace(p, plugins.TopologyPreference{Defaults: args.DefaultConstraints})
	return nil
}

// checkDefault is the API's own check of a constraint, but that its Pods are not for it to select.
func checkDefault(c *corev1.TopologySpreadConstraint) error {
	modes := []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}
	switch wrong := validation.IsQualifiedName(c.TopologyKey); {
	case c.MaxSkew < 1:
		return fmt.Errorf("maxSkew: must be at least 1, is %d", c.MaxSkew)
	case len(wrong) > 0:
		return fmt.Errorf("topologyKey: %q is no key of a label: %s", c.TopologyKey, strings.Join(wrong, "; "))
	case !slices.Contains(modes, c.WhenUnsatisfiable):
		return fmt.Errorf("whenUnsatisfiable: is %q; there are %v", c.WhenUnsatisfiable, modes)
	case c.LabelSelector != nil || len(c.MatchLabelKeys) > 0:
		return errors.New("labelSelector, matchLabelKeys: have to be left out; what is counted are the replicas of each Pod's own workload")
	case c.MinDomains != nil && (*c.MinDomains < 1 || c.WhenUnsatisfiable != corev1.DoNotSchedule):
		return fmt.Errorf("minDomains: is %d; must be at least 1, and with whenUnsatisfiable %s only", *c.MinDomains, corev1.DoNotSchedule)
	}
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	for field, said := range map[string]*corev1.NodeInclusionPolicy{"nodeAffinityPolicy": c.NodeAffinityPolicy, "nodeTaintsPolicy": c.NodeTaintsPolicy} {
		if said != nil && !slices.Contains(policies, *said) {
			return fmt.Errorf("%s: is %q; there are %v", field, *said, policies)
		}
	}
	return nil
}
