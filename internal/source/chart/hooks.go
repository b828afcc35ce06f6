package chart

import "strings"

// hookAnnotation is by which Helm knows objects that belong to a moment of a release's life.
const hookAnnotation = "helm.sh/hook"

// applied are the moments that applying a commit is: what belongs to one of them is an object like others. What is for tests, for a rollback or for the end of a
// release is not part of what is to run.
var applied = map[string]bool{
	"pre-install": true, "post-install": true, "pre-upgrade": true, "post-upgrade": true, "crd-install": true,
}

// Omit says whether an object of a chart is left out, because it belongs only to moments that applying a commit is not.
func Omit(content map[string]any) bool {
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return false
	}
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok {
		return false
	}
	hooks, ok := annotations[hookAnnotation].(string)
	if !ok {
		return false
	}
	for _, h := range strings.Split(hooks, ",") {
		if applied[strings.ToLower(strings.TrimSpace(h))] {
			return false
		}
	}
	return true
}
