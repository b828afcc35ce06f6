package plugins

import (
	"strings"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// ImageLocality prefers nodes that have the Pod's images already.
type ImageLocality struct{}

var _ Score = ImageLocality{}

// Sizes between which what is already there makes a difference: less is pulled in no time, more is as good as that for each container.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

// Name is the score's name.
func (ImageLocality) Name() string { return "ImageLocality" }

// Prepare has no preference where no node has any of the images, or all have them.
func (ImageLocality) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	total := len(s.Nodes())
	var names []string
	for i := range pod.Object.Spec.Containers {
		if name := normalImage(pod.Object.Spec.Containers[i].Image); s.ImageNodes(name) > 0 && s.ImageNodes(name) < total {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	ceiling := int64(largeImage * len(pod.Object.Spec.Containers))
	return func(n *snapshot.Node) int64 {
		var sum int64
		for _, name := range names {
			// An image that few nodes have counts less, or all replicas of a new version would crowd onto the first node that pulled it.
			sum += n.Images[name] * int64(s.ImageNodes(name)) / int64(total)
		}
		return MaxRating * (min(max(sum, smallImage), ceiling) - smallImage) / (ceiling - smallImage)
	}
}

// normalImage adds the tag that a reference without one means.
func normalImage(ref string) string {
	if strings.LastIndexByte(ref, ':') <= strings.LastIndexByte(ref, '/') {
		return ref + ":latest"
	}
	return ref
}
