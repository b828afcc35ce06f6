package appset

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	jsonpatch "github.com/evanphx/json-patch/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// maxApplications bounds what one ApplicationSet may make.
const maxApplications = 2000

// Error is what is wrong with an ApplicationSet.
type Error struct {
	// Field is where, such as spec.generators[0].git.
	Field   string
	Message string
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

func failf(field, format string, args ...any) error {
	return &Error{field, fmt.Sprintf(format, args...)}
}

// Repository is what the git generator may read.
type Repository struct {
	// Tree is the commit's.
	Tree fs.FS
	// Here says whether a repository at a revision is that commit.
	Here func(url, revision string) bool
}

// Policies of an ApplicationSet about the Applications that it makes.
const (
	CreateOnly   = "create-only"
	CreateUpdate = "create-update"
	CreateDelete = "create-delete"
	Sync         = "sync"
)

// Result is what an ApplicationSet makes.
type Result struct {
	// Applications are in the order of the generators.
	Applications []map[string]any
	// Policy is one of those above.
	Policy string
	// Rolling says that the set has its Applications synced itself, so that they need not be automated.
	Rolling bool
	// Preserve keeps what an Application brought when the Application goes.
	Preserve bool
}

// spec is an ApplicationSet's. The fields without a use here only tune Argo CD.
type spec struct {
	GoTemplate        bool           `json:"goTemplate"`
	GoTemplateOptions []string       `json:"goTemplateOptions"`
	Generators        []generator    `json:"generators"`
	Template          map[string]any `json:"template"`
	TemplatePatch     string         `json:"templatePatch"`
	SyncPolicy        struct {
		PreserveResourcesOnDeletion bool   `json:"preserveResourcesOnDeletion"`
		ApplicationsSync            string `json:"applicationsSync"`
	} `json:"syncPolicy"`
	Strategy struct {
		Type        string `json:"type"`
		RollingSync struct {
			Steps []struct {
				MatchExpressions any `json:"matchExpressions"`
				MaxUpdate        any `json:"maxUpdate"`
			} `json:"steps"`
		} `json:"rollingSync"`
		DeletionOrder any `json:"deletionOrder"`
	} `json:"strategy"`
	PreservedFields              any `json:"preservedFields"`
	IgnoreApplicationDifferences any `json:"ignoreApplicationDifferences"`
	ApplyNestedSelectors         any `json:"applyNestedSelectors"`
}

// generator has one of its fields set, and perhaps a selector.
type generator struct {
	List     *list                 `json:"list,omitempty"`
	Clusters *clusters             `json:"clusters,omitempty"`
	Git      *git                  `json:"git,omitempty"`
	Matrix   *combination          `json:"matrix,omitempty"`
	Merge    *combination          `json:"merge,omitempty"`
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

type list struct {
	Elements     []map[string]any `json:"elements,omitempty"`
	ElementsYAML string           `json:"elementsYaml,omitempty"`
	Template     map[string]any   `json:"template,omitempty"`
}

type clusters struct {
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	Values   map[string]string     `json:"values,omitempty"`
	Template map[string]any        `json:"template,omitempty"`
}

type git struct {
	RepoURL             string            `json:"repoURL"`
	Revision            string            `json:"revision,omitempty"`
	Directories         []pattern         `json:"directories,omitempty"`
	Files               []pattern         `json:"files,omitempty"`
	PathParamPrefix     string            `json:"pathParamPrefix,omitempty"`
	Values              map[string]string `json:"values,omitempty"`
	RequeueAfterSeconds any               `json:"requeueAfterSeconds,omitempty"`
	Template            map[string]any    `json:"template,omitempty"`
}

type pattern struct {
	Path    string `json:"path"`
	Exclude bool   `json:"exclude,omitempty"`
}

type combination struct {
	Generators []generator    `json:"generators"`
	MergeKeys  []string       `json:"mergeKeys,omitempty"`
	Template   map[string]any `json:"template,omitempty"`
}

// template is the one that a generator puts over the set's own.
func (g *generator) template() map[string]any {
	switch {
	case g.List != nil:
		return g.List.Template
	case g.Clusters != nil:
		return g.Clusters.Template
	case g.Git != nil:
		return g.Git.Template
	case g.Matrix != nil:
		return g.Matrix.Template
	case g.Merge != nil:
		return g.Merge.Template
	}
	return nil
}

// Expand makes the Applications of an ApplicationSet whose spec is given. What is wrong with it is an *Error.
func Expand(ctx context.Context, content any, repo Repository) (Result, error) {
	var s spec
	if err := strictly(content, &s); err != nil {
		return Result{}, failf("spec", "cannot be used: %v; of the generators list, git, clusters, matrix and merge are known", err)
	}
	out := Result{Policy: s.SyncPolicy.ApplicationsSync, Preserve: s.SyncPolicy.PreserveResourcesOnDeletion}
	switch out.Policy {
	case "":
		out.Policy = Sync
	case CreateOnly, CreateUpdate, CreateDelete, Sync:
	default:
		return Result{}, failf("spec.syncPolicy.applicationsSync", "must be one of %s, %s, %s, %s, got %q", CreateOnly, CreateUpdate, CreateDelete, Sync, out.Policy)
	}
	out.Rolling = s.Strategy.Type == "RollingSync"
	for i, step := range s.Strategy.RollingSync.Steps {
		if n := fmt.Sprint(step.MaxUpdate); out.Rolling && (n == "0" || n == "0%") {
			return Result{}, failf(fmt.Sprintf("spec.strategy.rollingSync.steps[%d].maxUpdate", i), "a step that waits for somebody's word is not known here; give its Applications a branch or tag of their own, which that somebody moves")
		}
	}
	x := &expansion{ctx: ctx, repo: repo, style: style{Go: s.GoTemplate, Options: s.GoTemplateOptions}}
	made := map[string]bool{}
	for i := range s.Generators {
		at := fmt.Sprintf("spec.generators[%d]", i)
		params, err := x.generate(at, &s.Generators[i])
		if err != nil {
			return Result{}, err
		}
		whole := map[string]any{"application": merged(s.Template, s.Generators[i].template()), "patch": s.TemplatePatch}
		filled, err := x.fill("spec.template", whole, params)
		if err != nil {
			return Result{}, err
		}
		for _, f := range filled {
			app, err := application(f)
			if err != nil {
				return Result{}, err
			}
			name := (&unstructured.Unstructured{Object: app}).GetName()
			if made[name] {
				return Result{}, failf(at, "makes two Applications that are called %q; have the name hold what tells them apart", name)
			}
			made[name] = true
			if out.Applications = append(out.Applications, app); len(out.Applications) > maxApplications {
				return Result{}, failf(at, "makes more than %d Applications; split the set", maxApplications)
			}
		}
	}
	return out, nil
}

// application is a filled template with its patch applied.
func application(filled map[string]any) (map[string]any, error) {
	app, _ := filled["application"].(map[string]any)
	if patch, _ := filled["patch"].(string); patch != "" {
		before, err := json.Marshal(app)
		if err != nil {
			return nil, err
		}
		text, err := yaml.YAMLToJSON([]byte(patch))
		if err != nil {
			return nil, failf("spec.templatePatch", "is no YAML once it is filled in: %v", err)
		}
		after, err := jsonpatch.MergePatch(before, text)
		if err != nil {
			return nil, failf("spec.templatePatch", "%v", err)
		}
		app = nil
		if err := json.Unmarshal(after, &app); err != nil {
			return nil, failf("spec.templatePatch", "%v", err)
		}
	}
	if app == nil {
		app = map[string]any{}
	}
	app["apiVersion"], app["kind"] = "argoproj.io/v1alpha1", "Application"
	if (&unstructured.Unstructured{Object: app}).GetName() == "" {
		return nil, failf("spec.template.metadata.name", "is empty once it is filled in")
	}
	return app, nil
}

// strictly reads content into a type of ours; a field that it lacks is an error.
func strictly(content, to any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

// merged is one map over another, field by field.
func merged(below, above map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range below {
		out[k] = v
	}
	for k, v := range above {
		inner, ok := v.(map[string]any)
		under, has := out[k].(map[string]any)
		if ok && has {
			out[k] = merged(under, inner)
			continue
		}
		if s, text := v.(string); text && s == "" && has {
			continue
		}
		out[k] = v
	}
	return out
}
