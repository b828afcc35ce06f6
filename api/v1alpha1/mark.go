package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
)

// maxLabel is the longest value that Kubernetes allows for a label.
const maxLabel = 63

// Mark is the value of LabelApplication on the objects of an Application: "namespace.name", shortened with a hash where that is too long.
func Mark(namespace, name string) string {
	s := namespace + "." + name
	if len(s) <= maxLabel {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:maxLabel-9] + "-" + hex.EncodeToString(sum[:4])
}

// Of returns the Application's namespace, given that of the one which depends on it.
func (d Dependency) Of(namespace string) string {
	if d.Namespace != "" {
		return d.Namespace
	}
	return namespace
}

// URL is that of the repository; of the repository of charts where there is no other.
func (s *Source) URL() string {
	if s.RepoURL == "" && s.Helm != nil && s.Helm.Chart != nil {
		return s.Helm.Chart.URL
	}
	return s.RepoURL
}

// Rollback has an Application apply another commit than the one at its ref, for as long as the ref stays where it was.
type Rollback struct {
	// To is the commit to apply instead, From the one at the ref; both are full hashes, or versions of a chart that has no repository.
	To   string `json:"to"`
	From string `json:"from"`
}
