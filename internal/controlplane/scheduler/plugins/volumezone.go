package plugins

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// VolumeZone turns away from nodes in other zones or regions than those that the labels of the Pod's volumes name.
type VolumeZone struct{}

var _ Filter = VolumeZone{}

// Name is the filter's name.
func (VolumeZone) Name() string { return "VolumeZone" }

var zoneLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion}

// Prepare applies to Pods whose volumes have such labels.
func (VolumeZone) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	var out zoneCheck
	for _, k := range pod.Claims {
		claim := s.Claim(k.Name)
		if claim == nil {
			continue
		}
		v := s.Volume(claim.Spec.VolumeName)
		if v == nil {
			continue
		}
		for _, key := range zoneLabels {
			if value, ok := v.Labels[key]; ok {
				out = append(out, zoneDemand{v.Name, key, strings.Split(value, "__")})
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Concerns are what changes labels of nodes and volumes.
func (VolumeZone) Concerns() Change { return Added | Labels | Claims | Storage }

// Helped by any of these.
func (VolumeZone) Helped(*snapshot.Pod, Event) bool { return true }

// zoneDemand is a label of a volume. It may name several values, with "__" between them.
type zoneDemand struct {
	volume, key string
	values      []string
}

// met by a node in one of the zones. One that knows of no zones at all is in none that would be wrong.
func (d zoneDemand) met(n *snapshot.Node) bool {
	if !slices.ContainsFunc(zoneLabels, func(key string) bool { _, ok := n.Labels[key]; return ok }) {
		return true
	}
	value, ok := n.Labels[d.key]
	if !ok {
		value = n.Labels[newName[d.key]]
	}
	return slices.Contains(d.values, value)
}

// newName is what a label of the first years is called now.
var newName = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
}

type zoneCheck []zoneDemand

func (c zoneCheck) Passes(n *snapshot.Node) bool {
	for _, d := range c {
		if !d.met(n) {
			return false
		}
	}
	return true
}

func (zoneCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) had no available volume zone"}
}

func (c zoneCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for _, d := range c {
		if !d.met(n) {
			out = append(out, fmt.Sprintf("PersistentVolume %s is in %s=%s, %s", d.volume, d.key, strings.Join(d.values, "|"), labelled(n, d.key)))
		}
	}
	return out
}

func (zoneCheck) Lasting(*snapshot.Node) bool { return true }
