package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
)

// Normalize gives the full form of a reference as a Pod writes it: registry, repository, and a tag or digest.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", &Error{Reason: "InvalidImageName", Err: fmt.Errorf("image %q is no valid reference (%w); write it as registry/repository:tag", ref, err)}
	}
	return named.String(), nil
}

// Domain is the registry of a normalized reference.
func Domain(ref string) string {
	host, _, _ := strings.Cut(ref, "/")
	return host
}

// repository is a normalized reference without its tag and digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref
}

// Of are the images that a Pod names, for its containers and for its volumes, as it writes them.
func Of(spec *v1.PodSpec) []string {
	var out []string
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			out = append(out, list[i].Image)
		}
	}
	for i := range spec.EphemeralContainers {
		out = append(out, spec.EphemeralContainers[i].Image)
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			out = append(out, v.Reference)
		}
	}
	return out
}
