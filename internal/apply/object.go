package apply

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/directive"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Object is an object from Git, ready to be applied.
type Object struct {
	Key      diff.Key
	Ref      v1alpha1.ObjectRef
	Resource schema.GroupVersionResource
	// Source is the object as Git has it.
	Source *source.Object
	// Desired is what is applied, the origin annotation excepted: that is added last, because it changes with every commit while the object
	// does not.
	Desired *unstructured.Unstructured
	// Asks is what its annotations ask of how it is applied.
	Asks directive.Set
	// Hash is that of Desired; an object with the hash of what was applied last needs no request.
	Hash [sha256.Size]byte
	// Deferred says that the kind's definition comes with this commit, so that the server can check the object only after that is applied.
	Deferred bool
}

// serverFields are parts of metadata that the server alone decides. Manifests that were exported from a cluster carry them.
var serverFields = []string{"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}

// prepare makes the desired object: namespaced, marked, and without what only a server can say. It shares with the source what it does not
// change, because an Application's objects stay in memory in both forms.
func prepare(s *source.Object, namespace, application string) *unstructured.Unstructured {
	content := maps.Clone(s.Content)
	delete(content, "status")
	meta := maps.Clone(content["metadata"].(map[string]any)) // source.Parse saw to it that it is a map
	content["metadata"] = meta
	for _, f := range serverFields {
		delete(meta, f)
	}
	labels := stringMap(meta["labels"])
	labels[v1alpha1.LabelApplication] = application
	annotations := stringMap(meta["annotations"])
	delete(annotations, v1alpha1.AnnotationOrigin)
	delete(annotations, v1alpha1.AnnotationChangedBy)

	u := &unstructured.Unstructured{Object: content}
	u.SetNamespace(namespace)
	u.SetLabels(labels)
	if u.SetAnnotations(annotations); len(annotations) == 0 {
		delete(meta, "annotations")
	}
	if u.GetKind() == "Secret" && u.GetAPIVersion() == "v1" {
		encodeStringData(u)
	}
	return u
}

// stringMap copies labels or annotations, without those that Git sets to null.
func stringMap(v any) map[string]string {
	out := map[string]string{}
	m, _ := v.(map[string]any)
	for k, v := range m {
		if text, ok := v.(string); ok {
			out[k] = text
		}
	}
	return out
}

// encodeStringData does what the server does with a Secret's stringData when it stores it. Left to the server, the fields in data would have no
// owner, and removing one in Git would not remove it from the cluster.
func encodeStringData(u *unstructured.Unstructured) {
	plain, ok := u.Object["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, ok := u.Object["data"].(map[string]any)
	if !ok {
		if u.Object["data"] != nil {
			return // of a wrong type; the dry run says so
		}
		data = map[string]any{}
	}
	data = maps.Clone(data)
	for _, v := range plain {
		if _, ok := v.(string); !ok && v != nil {
			return
		}
	}
	for k, v := range plain {
		text, _ := v.(string)
		data[k] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	u.Object["data"] = data
	delete(u.Object, "stringData")
}

// withOrigin returns the JSON that is sent: the desired object with the note of where it comes from.
func withOrigin(desired *unstructured.Unstructured, origin v1alpha1.Origin) ([]byte, error) {
	note, err := json.Marshal(origin)
	if err != nil {
		return nil, err
	}
	u := desired.DeepCopy()
	a := u.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[v1alpha1.AnnotationOrigin] = string(note)
	u.SetAnnotations(a)
	return json.Marshal(u.Object)
}

func hashOf(u *unstructured.Unstructured) ([sha256.Size]byte, error) {
	b, err := json.Marshal(u.Object) // keys are sorted, so equal objects are equal bytes
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encoding %s: %w", u.GetName(), err)
	}
	return sha256.Sum256(b), nil
}

// Place is the file and line where Git sets a field; it knows that data of a Secret may be written as stringData.
func (o *Object) Place(field string) (file string, line int) {
	if o.Key.Kind == "Secret" {
		if rest, ok := cutField(field, "data"); ok {
			if at := o.Source.Line("stringData" + rest); at != o.Source.Line("stringData") && at != o.Source.Origin.Line {
				return o.Source.Place("stringData" + rest)
			}
		}
	}
	return o.Source.Place(field)
}

func cutField(path, field string) (rest string, ok bool) {
	if len(path) <= len(field) || path[:len(field)] != field || path[len(field)] != '.' && path[len(field)] != '[' {
		return "", false
	}
	return path[len(field):], true
}
