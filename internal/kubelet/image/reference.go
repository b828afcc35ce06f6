package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
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
