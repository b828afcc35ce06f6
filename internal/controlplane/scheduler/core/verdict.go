package core

import "github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"

// Verdict is what all filters and scores say about one node, for somebody who wants to know.
type Verdict struct {
	Node     string
	Failures []Failure // none if the node can run the Pod
	Ratings  []Rating  // only where there are no failures
	Total    int64
}

// Failure is why one filter turned a node away, and what would change that.
type Failure struct {
	Filter   string
	Reasons  []string
	Remedies []string
	Lasting  bool // no Pod that leaves the node changes it
}

// Rating is what one score gave a node, already times its weight.
type Rating struct {
	Score string
	Value int64
}

// Verdicts asks every filter about every node, also those after the first that fails, and every score about the nodes that pass all.
func (c *Scheduler) Verdicts(pod *snapshot.Pod, s *snapshot.Snapshot) []Verdict {
	s.Tidy()
	refused := c.prepare(pod, s)
	out := make([]Verdict, len(s.Nodes()))
	c.feasible = c.feasible[:0]
	var passing []*Verdict
	for i, n := range s.Nodes() {
		v := &out[i]
		v.Node = n.Name()
		if refused != nil {
			v.Failures = []Failure{c.failure(&check{refused.Refused, refused.filter}, n)}
			continue
		}
		for i := range c.checks {
			if !c.checks[i].Passes(n) {
				v.Failures = append(v.Failures, c.failure(&c.checks[i], n))
			}
		}
		if len(v.Failures) == 0 {
			c.judge(pod, s, n, func(k *check) {
				if k != nil {
					f := c.failure(k, n)
					f.Remedies = append(f.Remedies, "room there was promised to Pods of the same or higher priority: "+names(n.Nominated(), pod))
					v.Failures = append(v.Failures, f)
				}
			})
		}
		if len(v.Failures) == 0 {
			c.feasible = append(c.feasible, n)
			passing = append(passing, v)
		}
	}
	if len(c.feasible) > 0 {
		c.rate(pod, s, passing)
	}
	return out
}

func (c *Scheduler) failure(k *check, n *snapshot.Node) Failure {
	return Failure{Filter: c.profile.Filters[k.filter].Name(), Reasons: k.Explain(n), Remedies: k.Remedies(n), Lasting: k.Lasting(n)}
}

func (c *Scheduler) rate(pod *snapshot.Pod, s *snapshot.Snapshot, passing []*Verdict) {
	for _, sc := range c.profile.Scores {
		rate := sc.Prepare(pod, s, c.feasible)
		if rate == nil {
			rate = func(*snapshot.Node) int64 { return 0 }
		}
		for i, n := range c.feasible {
			value := sc.Weight * rate(n)
			passing[i].Ratings = append(passing[i].Ratings, Rating{sc.Name(), value})
			passing[i].Total += value
		}
	}
}

func names(pods []*snapshot.Pod, but *snapshot.Pod) string {
	out := ""
	for _, p := range pods {
		if p.Object.UID != but.Object.UID && p.Priority >= but.Priority {
			if out != "" {
				out += ", "
			}
			out += p.Object.Namespace + "/" + p.Object.Name
		}
	}
	return out
}
