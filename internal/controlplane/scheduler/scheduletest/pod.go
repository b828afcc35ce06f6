package scheduletest

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// Pods makes a Pod of each line that is not empty.
func Pods(t testing.TB, text string) []*corev1.Pod {
	t.Helper()
	var out []*corev1.Pod
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, Pod(t, line))
		}
	}
	return out
}

// Pod makes a Pod of a line. It adds to podtest's words those that only scheduling knows:
//
//	ns=N                    its namespace
//	near=SEL@KEY[@NS]       required Pod affinity; SEL is "k:v,…", and NS namespaces "a,b", all namespaces "*", or those of a label "k:v"
//	away=SEL@KEY[@NS]       required Pod anti-affinity
//	likes=SEL@KEY[@NS]*W    preferred Pod affinity of weight W; dislikes= the same against
//	match=KEY mismatch=KEY  matchLabelKeys and mismatchLabelKeys of the affinity term before
//	in=K:V notin=K:V        required node affinity, an expression each; field=N: metadata.name
//	wants=K:V*W             preferred node affinity
//	spread=KEY:SKEW[:F]     topologySpreadConstraint over its labels; F is of min~N, ignoreaffinity, honortaints, keys~K
//	anyway=KEY:SKEW         the same, ScheduleAnyway
//	overhead=CPU            Pod overhead
//	never                   preemptionPolicy Never
//	claim=N                 mounts a PersistentVolumeClaim
//	devices=N               uses a ResourceClaim
//	nominated=N             status.nominatedNodeName
//	started=D               its start time, D ago
//	gang=N:MIN              one of a gang of which MIN have to be placed together
//	ends                    restartPolicy Never
//	victim                  being deleted because of a preemption
func Pod(t testing.TB, line string) *corev1.Pod {
	t.Helper()
	words := strings.Fields(line)
	rest, own := words[:1:1], []string(nil)
	for _, w := range words[1:] {
		key, _, _ := strings.Cut(w, "=")
		if schedulingWords[key] != nil {
			own = append(own, w)
		} else {
			rest = append(rest, w)
		}
	}
	p := podtest.Line(t, strings.Join(rest, " "))
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	for _, w := range own {
		key, value, _ := strings.Cut(w, "=")
		schedulingWords[key](t, p, value)
	}
	return p
}

var schedulingWords = map[string]func(t testing.TB, p *corev1.Pod, value string){
	"ns": func(_ testing.TB, p *corev1.Pod, v string) {
		p.Namespace, p.UID = v, types.UID("uid-"+v+"-"+p.Name)
	},
	"near": func(_ testing.TB, p *corev1.Pod, v string) {
		a := podAffinity(p)
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, affinityTerm(v))
	},
	"away": func(_ testing.TB, p *corev1.Pod, v string) {
		a := antiAffinity(p)
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, affinityTerm(v))
	},
	"likes": func(t testing.TB, p *corev1.Pod, v string) {
		a := podAffinity(p)
		v, weight := weighted(t, v)
		a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: weight, PodAffinityTerm: affinityTerm(v)})
	},
	"dislikes": func(t testing.TB, p *corev1.Pod, v string) {
		a := antiAffinity(p)
		v, weight := weighted(t, v)
		a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: weight, PodAffinityTerm: affinityTerm(v)})
	},
	"match":    func(_ testing.TB, p *corev1.Pod, v string) { lastTerm(p).MatchLabelKeys = strings.Split(v, ",") },
	"mismatch": func(_ testing.TB, p *corev1.Pod, v string) { lastTerm(p).MismatchLabelKeys = strings.Split(v, ",") },
	"in": func(_ testing.TB, p *corev1.Pod, v string) {
		k, v, _ := strings.Cut(v, ":")
		nodeTerm(p).MatchExpressions = append(nodeTerm(p).MatchExpressions, corev1.NodeSelectorRequirement{Key: k, Operator: corev1.NodeSelectorOpIn, Values: []string{v}})
	},
	"notin": func(_ testing.TB, p *corev1.Pod, v string) {
		k, v, _ := strings.Cut(v, ":")
		nodeTerm(p).MatchExpressions = append(nodeTerm(p).MatchExpressions, corev1.NodeSelectorRequirement{Key: k, Operator: corev1.NodeSelectorOpNotIn, Values: []string{v}})
	},
	"field": func(_ testing.TB, p *corev1.Pod, v string) {
		nodeTerm(p).MatchFields = append(nodeTerm(p).MatchFields,
			corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{v}})
	},
	"wants": func(t testing.TB, p *corev1.Pod, v string) {
		v, weight := weighted(t, v)
		k, v, _ := strings.Cut(v, ":")
		a := nodeAffinity(p)
		a.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PreferredDuringSchedulingIgnoredDuringExecution, corev1.PreferredSchedulingTerm{
			Weight: weight, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: k, Operator: corev1.NodeSelectorOpIn, Values: []string{v}},
			}},
		})
	},
	"spread": func(t testing.TB, p *corev1.Pod, v string) { spreadConstraint(t, p, v, corev1.DoNotSchedule) },
	"anyway": func(t testing.TB, p *corev1.Pod, v string) { spreadConstraint(t, p, v, corev1.ScheduleAnyway) },
	"overhead": func(_ testing.TB, p *corev1.Pod, v string) {
		p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(v)}
	},
	"never": func(_ testing.TB, p *corev1.Pod, _ string) { p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever) },
	"ends":  func(_ testing.TB, p *corev1.Pod, _ string) { p.Spec.RestartPolicy = corev1.RestartPolicyNever },
	"claim": func(_ testing.TB, p *corev1.Pod, v string) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: v, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v},
		}})
	},
	"devices":   usesDevices,
	"nominated": func(_ testing.TB, p *corev1.Pod, v string) { p.Status.NominatedNodeName = v },
	"started": func(t testing.TB, p *corev1.Pod, v string) {
		p.Status.StartTime = &podtest.Line(t, "x age="+v).CreationTimestamp
	},
	"gang": func(_ testing.TB, p *corev1.Pod, v string) {
		name, minimum, _ := strings.Cut(v, ":")
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[v1alpha1.AnnotationGangName], p.Annotations[v1alpha1.AnnotationGangMinimum] = name, minimum
	},
	"victim": func(_ testing.TB, p *corev1.Pod, _ string) {
		p.DeletionTimestamp = &metav1.Time{Time: podtest.Now}
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		})
	},
}

func affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func podAffinity(p *corev1.Pod) *corev1.PodAffinity {
	if a := affinity(p); a.PodAffinity == nil {
		a.PodAffinity = &corev1.PodAffinity{}
	}
	return p.Spec.Affinity.PodAffinity
}

func antiAffinity(p *corev1.Pod) *corev1.PodAntiAffinity {
	if a := affinity(p); a.PodAntiAffinity == nil {
		a.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	return p.Spec.Affinity.PodAntiAffinity
}

func nodeAffinity(p *corev1.Pod) *corev1.NodeAffinity {
	if a := affinity(p); a.NodeAffinity == nil {
		a.NodeAffinity = &corev1.NodeAffinity{}
	}
	return p.Spec.Affinity.NodeAffinity
}

// nodeTerm is the one term of the required node affinity.
func nodeTerm(p *corev1.Pod) *corev1.NodeSelectorTerm {
	a := nodeAffinity(p)
	if a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		a.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: make([]corev1.NodeSelectorTerm, 1)}
	}
	return &a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]
}

func lastTerm(p *corev1.Pod) *corev1.PodAffinityTerm {
	if a := p.Spec.Affinity.PodAntiAffinity; a != nil && len(a.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		return &a.RequiredDuringSchedulingIgnoredDuringExecution[len(a.RequiredDuringSchedulingIgnoredDuringExecution)-1]
	}
	terms := p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	return &terms[len(terms)-1]
}

func affinityTerm(v string) corev1.PodAffinityTerm {
	parts := strings.Split(v, "@")
	term := corev1.PodAffinityTerm{TopologyKey: parts[1], LabelSelector: &metav1.LabelSelector{MatchLabels: podtest.Labels(parts[0])}}
	switch {
	case len(parts) < 3:
	case parts[2] == "*":
		term.NamespaceSelector = &metav1.LabelSelector{}
	case strings.Contains(parts[2], ":"):
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: podtest.Labels(parts[2])}
	default:
		term.Namespaces = strings.Split(parts[2], ",")
	}
	return term
}

func weighted(t testing.TB, v string) (string, int32) {
	t.Helper()
	i := strings.LastIndexByte(v, '*')
	if i < 0 {
		t.Fatalf("%q has no weight", v)
	}
	n, err := strconv.ParseInt(v[i+1:], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return v[:i], int32(n)
}

func spreadConstraint(t testing.TB, p *corev1.Pod, v string, mode corev1.UnsatisfiableConstraintAction) {
	t.Helper()
	parts := strings.Split(v, ":")
	skew, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	k := corev1.TopologySpreadConstraint{
		TopologyKey: parts[0], MaxSkew: int32(skew), WhenUnsatisfiable: mode, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": p.Labels["app"]}},
	}
	for _, f := range parts[2:] {
		name, value, _ := strings.Cut(f, "~")
		switch name {
		case "min":
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			k.MinDomains = ptr.To(int32(n))
		case "ignoreaffinity":
			k.NodeAffinityPolicy = ptr.To(corev1.NodeInclusionPolicyIgnore)
		case "honortaints":
			k.NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor)
		case "keys":
			k.MatchLabelKeys = []string{value}
		default:
			t.Fatalf("no such field of a spread constraint: %q", name)
		}
	}
	p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, k)
}
