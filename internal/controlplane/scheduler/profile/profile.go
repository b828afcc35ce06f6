package profile

import (
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
)

// Config is how Pods are scheduled.
type Config struct {
	Profiles map[string]core.Profile // by spec.schedulerName
	Backoff  queue.Backoff
}

// Default schedules the Pods that name no other scheduler, with all plugins.
func Default() Config {
	return Config{Profiles: map[string]core.Profile{corev1.DefaultSchedulerName: core.DefaultProfile()}, Backoff: queue.DefaultBackoff}
}

// Load reads a KubeSchedulerConfiguration from a file; Default without one.
func Load(path string) (Config, error) {
	if path == "" {
		return Default(), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the scheduler's configuration: %w", err)
	}
	c, err := Read(content)
	if err != nil {
		return Config{}, fmt.Errorf("the scheduler's configuration %s: %w", path, err)
	}
	return c, nil
}

// Read reads a KubeSchedulerConfiguration. Unknown fields are errors.
func Read(content []byte) (Config, error) {
	var in configv1.KubeSchedulerConfiguration
	if err := yaml.UnmarshalStrict(content, &in); err != nil {
		return Config{}, err
	}
	if in.Kind != "KubeSchedulerConfiguration" || in.APIVersion != configv1.SchemeGroupVersion.String() {
		return Config{}, fmt.Errorf("it holds %q of %q; a KubeSchedulerConfiguration of %s is expected", in.Kind, in.APIVersion, configv1.SchemeGroupVersion)
	}
	if len(in.Extenders) > 0 {
		return Config{}, fmt.Errorf("extenders: there are %d; other programs are not asked when Pods are scheduled", len(in.Extenders))
	}
	out := Default()
	if err := backoff(&out.Backoff, &in); err != nil {
		return Config{}, err
	}
	percent, err := percentage(in.PercentageOfNodesToScore)
	if err != nil {
		return Config{}, err
	}
	if len(in.Profiles) == 0 {
		in.Profiles = []configv1.KubeSchedulerProfile{{}}
	}
	out.Profiles = map[string]core.Profile{}
	for i := range in.Profiles {
		name := corev1.DefaultSchedulerName
		if n := in.Profiles[i].SchedulerName; n != nil && *n != "" {
			name = *n
		}
		if _, twice := out.Profiles[name]; twice {
			return Config{}, fmt.Errorf("profiles[%d]: schedulerName %q is that of another profile already", i, name)
		}
		p, err := read(&in.Profiles[i], percent)
		if err != nil {
			return Config{}, fmt.Errorf("profiles[%d] (%s): %w", i, name, err)
		}
		out.Profiles[name] = p
	}
	return out, nil
}

func backoff(b *queue.Backoff, in *configv1.KubeSchedulerConfiguration) error {
	if s := in.PodInitialBackoffSeconds; s != nil {
		b.First = time.Duration(*s) * time.Second
	}
	if s := in.PodMaxBackoffSeconds; s != nil {
		b.Last = time.Duration(*s) * time.Second
	}
	if b.First <= 0 || b.Last < b.First {
		return fmt.Errorf("podInitialBackoffSeconds, podMaxBackoffSeconds: the first back-off is %v and the last %v; the first has to be more than 0, and the last no less than it", b.First, b.Last)
	}
	return nil
}

func percentage(p *int32) (int, error) {
	switch {
	case p == nil:
		return 0, nil
	case *p < 0 || *p > 100:
		return 0, fmt.Errorf("percentageOfNodesToScore: must be between 0 and 100, is %d", *p)
	}
	return int(*p), nil
}

func read(in *configv1.KubeSchedulerProfile, percent int) (core.Profile, error) {
	out := core.DefaultProfile()
	out.Percentage = percent
	if in.PercentageOfNodesToScore != nil {
		p, err := percentage(in.PercentageOfNodesToScore)
		if err != nil {
			return out, err
		}
		out.Percentage = p
	}
	if in.Plugins != nil {
		if err := choose(&out, in.Plugins); err != nil {
			return out, err
		}
	}
	for i := range in.PluginConfig {
		if err := configure(&out, &in.PluginConfig[i]); err != nil {
			return out, fmt.Errorf("pluginConfig[%d] (%s): %w", i, in.PluginConfig[i].Name, err)
		}
	}
	return out, nil
}

// preemption is the name of what is not a filter or score and can be left out all the same.
const preemption = "DefaultPreemption"

// always are names that files list and that stand for what is always so: order by priority, gates, binding.
var always = []string{"PrioritySort", "SchedulingGates", "DefaultBinder", "NodeName"}

// choose applies what a file enables and disables. An extension point's own list goes before multiPoint.
func choose(p *core.Profile, in *configv1.Plugins) error {
	for name, set := range map[string]configv1.PluginSet{
		"preEnqueue": in.PreEnqueue, "queueSort": in.QueueSort, "preFilter": in.PreFilter, "preScore": in.PreScore, "reserve": in.Reserve,
		"permit": in.Permit, "preBind": in.PreBind, "bind": in.Bind, "postBind": in.PostBind,
		"placementGenerate": in.PlacementGenerate, "placementScore": in.PlacementScore, "podGroupPostFilter": in.PodGroupPostFilter,
	} {
		if len(set.Enabled)+len(set.Disabled) > 0 {
			return fmt.Errorf("plugins.%s: cannot be chosen; there are filter, score, postFilter and multiPoint", name)
		}
	}
	all := core.DefaultProfile()
	for _, set := range []struct {
		at                         string
		plugins                    configv1.PluginSet
		filters, scores, preempter bool
	}{
		{"multiPoint", in.MultiPoint, true, true, true}, {"filter", in.Filter, true, false, false},
		{"score", in.Score, false, true, false}, {"postFilter", in.PostFilter, false, false, true},
	} {
		known := slices.Clone(always)
		if set.filters {
			known = append(known, filterNames(all)...)
		}
		if set.scores {
			known = append(known, scoreNames(all)...)
		}
		if set.preempter {
			known = append(known, preemption)
		}
		for _, d := range append(slices.Clone(set.plugins.Disabled), set.plugins.Enabled...) {
			if d.Name != "*" && !slices.Contains(known, d.Name) {
				slices.Sort(known)
				return fmt.Errorf("plugins.%s: there is no %q; there are %v", set.at, d.Name, slices.Compact(known))
			}
		}
		for _, d := range set.plugins.Disabled {
			if slices.Contains(always, d.Name) {
				return fmt.Errorf("plugins.%s.disabled: %s cannot be left out", set.at, d.Name)
			}
			if set.filters {
				disableFilter(p, d.Name)
			}
			if set.scores {
				disableScore(p, d.Name)
			}
			if set.preempter && (d.Name == "*" || d.Name == preemption) {
				p.NeverPreempt = true
			}
		}
		for _, e := range set.plugins.Enabled {
			if e.Weight != nil && *e.Weight < 0 {
				return fmt.Errorf("plugins.%s.enabled: the weight of %s is %d; it must not be negative", set.at, e.Name, *e.Weight)
			}
			if set.filters {
				enableFilter(p, all, e.Name)
			}
			if set.scores {
				enableScore(p, all, e)
			}
			if set.preempter && e.Name == preemption {
				p.NeverPreempt = false
			}
		}
	}
	return nil
}
