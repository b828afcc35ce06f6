package forecast

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

// Workload is what a change brings of one object.
type Workload struct {
	// Name is the object, such as "Deployment shop/web".
	Name string
	// Pod is one of its Pods, as the API server would complete it; Count is how many there will be that are not there now.
	Pod   *corev1.Pod
	Count int
	// EachNode says that there is one for each node that will have it, as of a DaemonSet; Count is then of no meaning.
	EachNode bool
	// Claims are made for each Pod from these; the names of the Pod's volumes lead to them.
	Claims []corev1.PersistentVolumeClaim
	// Refused is why the API server would not take the Pod at all.
	Refused string
}

// Outlook is what would become of a workload's Pods.
type Outlook struct {
	Workload string `json:"workload"`
	Pods     int    `json:"pods"`
	Fit      int    `json:"fit"`
	// Message says why the others do not, in the scheduler's words, and Remedies what would help.
	Message  string   `json:"message,omitempty"`
	Remedies []string `json:"remedies,omitempty"`
}

// Make places the Pods that come, after those that are gone have left. The World is used up. Workloads that bring no Pod are left out.
func Make(w *why.World, gone []types.UID, workloads []Workload, config profile.Config) []Outlook {
	for _, uid := range gone {
		w.Snapshot.Remove(uid)
	}
	var out []Outlook
	for _, wl := range workloads {
		if !wl.EachNode && wl.Count == 0 && wl.Refused == "" {
			continue
		}
		o := Outlook{Workload: wl.Name, Pods: wl.Count}
		prof, known := config.Profiles[schedulerOf(wl.Pod)]
		switch {
		case wl.Refused != "":
			o.Message = "the API server would refuse the Pods: " + wl.Refused
		case !known:
			o.Message = fmt.Sprintf("spec.schedulerName %q has no profile here: who knows where that scheduler puts them", wl.Pod.Spec.SchedulerName)
		case wl.EachNode:
			o.eachNode(w.Snapshot, wl, prof)
		default:
			o.place(w.Snapshot, wl, core.New(prof))
		}
		out = append(out, o)
	}
	return out
}

func schedulerOf(p *corev1.Pod) string {
	if p == nil {
		return ""
	}
	return p.Spec.SchedulerName
}

// place schedules the Pods until one finds no node; as they are all alike, the others would not either.
func (o *Outlook) place(s *snapshot.Snapshot, wl Workload, c *core.Scheduler) {
	for i := range wl.Count {
		p := copyOf(wl, i, s)
		r := c.Schedule(p, s)
		if r.Node == "" {
			o.Message = r.Message()
			o.Remedies = remedies(c.Verdicts(p, s))
			return
		}
		s.Assume(p, r.Node)
		o.Fit++
	}
}

// copyOf is the Pod with a number of its own, and with the claims that are made for it.
func copyOf(wl Workload, i int, s *snapshot.Snapshot) *snapshot.Pod {
	p := wl.Pod.DeepCopy()
	p.Name = fmt.Sprintf("%s-%d", p.Name, i)
	p.UID = types.UID(wl.Name + " " + strconv.Itoa(i))
	p.Spec.ResourceClaims = nil // they are made for the Pod, and given devices, once it is there
	for _, claim := range wl.Claims {
		c := claim.DeepCopy()
		c.Namespace, c.Name = p.Namespace, claim.Name+"-"+p.Name
		if s.Claim(c.Namespace+"/"+c.Name) == nil {
			s.SetClaim(c)
		}
		volume := corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}}
		if at := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == claim.Name }); at >= 0 {
			p.Spec.Volumes[at] = volume
		} else {
			p.Spec.Volumes = append(p.Spec.Volumes, volume)
		}
	}
	return snapshot.NewPod(p)
}

// elsewhere are the filters by which a node is none of a DaemonSet's in the first place, rather than one that lacks room for its Pod.
var elsewhere = []string{"NodeAffinity", "NodeName", "TaintToleration", "NodeUnschedulable"}

// eachNode asks each node about the Pod.
func (o *Outlook) eachNode(s *snapshot.Snapshot, wl Workload, prof core.Profile) {
	reasons := map[string]int{}
	var short []core.Verdict
	verdicts := core.New(prof).Verdicts(copyOf(wl, 0, s), s)
	for _, v := range verdicts {
		if slices.ContainsFunc(v.Failures, func(f core.Failure) bool { return slices.Contains(elsewhere, f.Filter) }) {
			continue
		}
		o.Pods++
		if len(v.Failures) == 0 {
			s.Assume(copyOf(wl, o.Pods, s), v.Node)
			o.Fit++
			continue
		}
		short = append(short, v)
		for _, f := range v.Failures {
			for _, r := range f.Reasons {
				reasons[r]++
			}
		}
	}
	if len(short) > 0 {
		o.Message = core.Result{Nodes: len(verdicts), Reasons: reasons}.Message()
		o.Remedies = remedies(short)
	}
}

// shownRemedies bounds what is said about each workload: gitopsd why says it all once the Pods are there.
const shownRemedies = 3

// remedies are those of the nodes that come closest, each once.
func remedies(verdicts []core.Verdict) (out []string) {
	slices.SortStableFunc(verdicts, func(a, b core.Verdict) int { return len(a.Failures) - len(b.Failures) })
	for _, v := range verdicts {
		for _, f := range v.Failures {
			for _, r := range f.Remedies {
				if r = v.Node + ": " + r; len(out) < shownRemedies && !slices.Contains(out, r) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}
