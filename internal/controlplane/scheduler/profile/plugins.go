package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
)

func filterNames(p core.Profile) (out []string) {
	for _, f := range p.Filters {
		out = append(out, f.Name())
	}
	return out
}

func scoreNames(p core.Profile) (out []string) {
	for _, s := range p.Scores {
		out = append(out, s.Name())
	}
	return out
}

func disableFilter(p *core.Profile, name string) {
	p.Filters = slices.DeleteFunc(slices.Clone(p.Filters), func(f plugins.Filter) bool { return name == "*" || f.Name() == name })
}

func disableScore(p *core.Profile, name string) {
	p.Scores = slices.DeleteFunc(slices.Clone(p.Scores), func(s plugins.Weighted) bool { return name == "*" || s.Name() == name })
}

// enableFilter adds a filter. Filters keep the order in which they are asked, whatever the file's.
func enableFilter(p *core.Profile, all core.Profile, name string) {
	p.Filters = slices.DeleteFunc(slices.Clone(all.Filters), func(f plugins.Filter) bool {
		return f.Name() != name && !slices.ContainsFunc(p.Filters, func(have plugins.Filter) bool { return have.Name() == f.Name() })
	})
}

// enableScore adds a score, or gives it another weight; 1 if the file names none.
func enableScore(p *core.Profile, all core.Profile, e configv1.Plugin) {
	i := slices.IndexFunc(all.Scores, func(s plugins.Weighted) bool { return s.Name() == e.Name })
	if i < 0 {
		return // under multiPoint, a filter alone
	}
	s := all.Scores[i]
	s.Weight = 1
	if e.Weight != nil && *e.Weight > 0 {
		s.Weight = int64(*e.Weight)
	}
	disableScore(p, e.Name)
	p.Scores = append(p.Scores, s)
}

// configure applies the arguments of a plugin.
func configure(p *core.Profile, in *configv1.PluginConfig) error {
	switch in.Name {
	case "NodeResourcesFit":
		var args configv1.NodeResourcesFitArgs
		if err := decode(in, &args); err != nil {
			return err
		}
		return allocation(p, &args)
	case "InterPodAffinity":
		var args configv1.InterPodAffinityArgs
		if err := decode(in, &args); err != nil {
			return err
		}
		if args.IgnorePreferredTermsOfExistingPods {
			return errors.New("args.ignorePreferredTermsOfExistingPods: preferences of Pods that run always count")
		}
		w := args.HardPodAffinityWeight
		if w == nil {
			return nil
		}
		if *w < 0 || *w > 100 {
			return fmt.Errorf("args.hardPodAffinityWeight: must be between 0 and 100, is %d", *w)
		}
		replace(p, plugins.PodPreference{RequiredWeight: *w})
		return nil
	case "PodTopologySpread":
		var args configv1.PodTopologySpreadArgs
		if err := decode(in, &args); err != nil {
			return err
		}
		return defaultSpread(p, &args)
	}
	return errors.New("it takes no arguments; those of NodeResourcesFit, InterPodAffinity and PodTopologySpread can be set")
}

func decode(in *configv1.PluginConfig, args any) error {
	raw := in.Args.Raw
	var said map[string]any
	if err := json.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("args: %w", err)
	}
	if kind, ok := said["kind"]; ok && kind != in.Name+"Args" {
		return fmt.Errorf("args: they are of kind %v; %sArgs are expected", kind, in.Name)
	}
	if err := yaml.UnmarshalStrict(raw, args); err != nil {
		return fmt.Errorf("args: %w", err)
	}
	return nil
}

func replace(p *core.Profile, s plugins.Score) {
	p.Scores = slices.Clone(p.Scores)
	for i := range p.Scores {
		if p.Scores[i].Name() == s.Name() {
			p.Scores[i].Score = s
		}
	}
}

func replaceFilter(p *core.Profile, f plugins.Filter) {
	p.Filters = slices.Clone(p.Filters)
	for i := range p.Filters {
		if p.Filters[i].Name() == f.Name() {
			p.Filters[i] = f
		}
	}
}

func allocation(p *core.Profile, args *configv1.NodeResourcesFitArgs) error {
	if len(args.IgnoredResources)+len(args.IgnoredResourceGroups) > 0 {
		return errors.New("args.ignoredResources, args.ignoredResourceGroups: every resource that a Pod requests is looked at")
	}
	in := args.ScoringStrategy
	if in == nil {
		return nil
	}
	a := plugins.Allocation{Strategy: plugins.Strategy(in.Type), Weights: map[corev1.ResourceName]int64{}}
	for _, r := range in.Resources {
		if r.Weight < 0 || r.Weight > 100 {
			return fmt.Errorf("args.scoringStrategy.resources: the weight of %s must be between 1 and 100, is %d", r.Name, r.Weight)
		}
		a.Weights[corev1.ResourceName(r.Name)] = max(1, r.Weight)
	}
	switch a.Strategy {
	case plugins.LeastAllocated, plugins.MostAllocated:
	case plugins.RequestedToCapacityRatio:
		if in.RequestedToCapacityRatio == nil || len(in.RequestedToCapacityRatio.Shape) == 0 {
			return errors.New("args.scoringStrategy.requestedToCapacityRatio.shape: has to have at least one point")
		}
		last := int64(-1)
		for _, s := range in.RequestedToCapacityRatio.Shape {
			if int64(s.Utilization) <= last || s.Utilization > 100 || s.Score < 0 || s.Score > 10 {
				return fmt.Errorf("args.scoringStrategy.requestedToCapacityRatio.shape: utilization %d, score %d: utilizations have to rise from 0 to 100, scores are between 0 and 10", s.Utilization, s.Score)
			}
			last = int64(s.Utilization)
			a.Shape = append(a.Shape, plugins.Point{Taken: int64(s.Utilization), Rating: int64(s.Score) * plugins.MaxRating / 10})
		}
	default:
		return fmt.Errorf("args.scoringStrategy.type: is %q; there are LeastAllocated, MostAllocated and RequestedToCapacityRatio", in.Type)
	}
	replace(p, a)
	return nil
}
