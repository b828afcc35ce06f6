package static

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/defaults"
)

// Annotations of static Pods and their mirrors, as kubelets set them; kubectl and others tell them by these.
const (
	SourceAnnotation = "kubernetes.io/config.source"
	SeenAnnotation   = "kubernetes.io/config.seen"
	HashAnnotation   = "kubernetes.io/config.hash"
	// FileAnnotation names the manifest, so that it is known after a restart, and to readers of the mirror.
	FileAnnotation = "gitopsd.io/config.file"
)

// Manifest is a static Pod and where it came from.
type Manifest struct {
	File string
	Pod  *v1.Pod

	lines lines
}

// Line gives the line of a field of the Pod in the file.
func (m *Manifest) Line(field string) int { return m.lines.of(field) }

// IsUID says whether a UID is that of a static Pod: a digest. The API gives UUIDs (RFC 9562), which have dashes, and nobody else can choose one.
func IsUID(uid types.UID) bool { return digest.MatchString(string(uid)) }

var digest = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Parse reads a manifest for a node, whose name the Pod's name gets as its end. seen is when the file was read.
func Parse(file string, data []byte, node string, seen time.Time) (*Manifest, error) {
	root, err := document(file, data)
	if err != nil {
		return nil, err
	}
	m := &Manifest{File: file, Pod: &v1.Pod{}, lines: lines{root}}
	if key := twice(root); key != nil {
		return nil, fmt.Errorf("%s:%d: key %q is there twice", file, key.Line, key.Value)
	}
	text, err := sigsyaml.YAMLToJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := m.decode(text); err != nil {
		return nil, err
	}
	p := m.Pod
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	if errs := check(p); len(errs) > 0 {
		var all []string
		for _, e := range errs {
			all = append(all, fmt.Sprintf("%s:%d: %v", file, m.Line(e.Field), e))
		}
		return nil, errors.New(strings.Join(all, "\n"))
	}
	// What another file, name or node makes of the same text is another Pod.
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", text, node, file))
	p.UID = types.UID(hex.EncodeToString(sum[:16]))
	p.Name += "-" + node
	p.Spec.NodeName = node
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[SourceAnnotation], p.Annotations[HashAnnotation], p.Annotations[FileAnnotation] = "file", string(p.UID), file
	p.Annotations[SeenAnnotation] = seen.Format(time.RFC3339Nano)
	// Whatever is wrong with the node, its own Pods are not moved elsewhere.
	p.Spec.Tolerations = append(p.Spec.Tolerations, v1.Toleration{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute})
	if priority, ok := priorities[p.Spec.PriorityClassName]; ok && p.Spec.Priority == nil {
		p.Spec.Priority = &priority
	}
	created := metav1.NewTime(seen.Truncate(time.Second))
	p.CreationTimestamp = created
	p.Status = v1.PodStatus{Phase: v1.PodPending}
	defaults.SetPod(p)
	return m, nil
}

// priorities are those of the classes that every cluster has; without a control plane no others can be looked up.
var priorities = map[string]int32{"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}

// document is the one that the file holds.
func document(file string, data []byte) (*yaml.Node, error) {
	var docs []*yaml.Node
	loader, err := yaml.NewLoader(strings.NewReader(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntax(file, err)
		}
		root := &n
		if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
			root = n.Content[0]
		}
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" || root.Kind == yaml.DocumentNode {
			continue
		}
		docs = append(docs, root)
	}
	switch {
	case len(docs) == 0:
		return nil, fmt.Errorf("%s: is empty; write a Pod there, or remove it", file)
	case len(docs) > 1:
		return nil, fmt.Errorf("%s:%d: a second document begins here; a file holds one Pod", file, docs[1].Line)
	case docs[0].Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%s:%d: is no object; a file holds one Pod", file, docs[0].Line)
	}
	return docs[0], nil
}

func syntax(file string, err error) error {
	var le *yaml.LoadError
	if errors.As(err, &le) {
		return fmt.Errorf("%s:%d: %s", file, le.Mark.Line, le.Message)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// decode reads the Pod; a field that Pods do not have is an error, as it would be lost silently.
func (m *Manifest) decode(text []byte) error {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(text, &kind); err != nil || kind.Kind != "Pod" || kind.APIVersion != "v1" {
		return fmt.Errorf("%s:%d: is kind %q of apiVersion %q; a static Pod is of kind Pod, apiVersion v1", m.File, m.Line("kind"), kind.Kind, kind.APIVersion)
	}
	strict, err := kjson.UnmarshalStrict(text, m.Pod)
	if te := (*json.UnmarshalTypeError)(nil); errors.As(err, &te) {
		path := pathAt(text, te.Offset)
		return fmt.Errorf("%s:%d: %s: must be %s, is a %s", m.File, m.Line(path), path, te.Type, te.Value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.File, err)
	}
	var all []string
	for _, e := range strict {
		line := 1
		if f, ok := e.(kjson.FieldError); ok {
			line = m.Line(f.FieldPath())
		}
		all = append(all, fmt.Sprintf("%s:%d: %v", m.File, line, e))
	}
	if len(all) > 0 {
		return errors.New(strings.Join(all, "\n"))
	}
	return nil
}
