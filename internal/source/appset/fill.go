package appset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

// maxFilled bounds what the templates of one ApplicationSet may become.
const maxFilled = 32 << 20

// style is how placeholders are written.
type style struct {
	// Go says that they are Go's templates; otherwise they are plain names, {{path.basename}}.
	Go bool
	// Options are those of Go's templates.
	Options []string
}

// fill puts each set of parameters into a template: into every text in it, keys included.
func (x *expansion) fill(at string, tree map[string]any, sets []params) ([]map[string]any, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	in := filling{Style: x.style}
	var err error
	if in.Template, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	if in.Sets, err = json.Marshal(sets); err != nil {
		return nil, err
	}
	answer, err := job.Do(x.ctx, in)
	switch {
	case errors.Is(err, sandbox.ErrLimits):
		return nil, failf(at, "cannot be filled in: %v; is there a loop in it that does not end?", err)
	case err != nil:
		return nil, err
	case answer.Error != "":
		return nil, failf(at, "%s", answer.Error)
	}
	var out []map[string]any
	return out, json.Unmarshal(answer.Filled, &out)
}

// filling is what the process that fills templates in is given; trees travel as JSON, which is what they are.
type filling struct {
	Template, Sets []byte
	Style          style
}

// filled is what it gives back; what is wrong with the template is a result too.
type filled struct {
	Filled []byte
	Error  string
}

var job = sandbox.New("applicationset", func(_ context.Context, in filling) (filled, error) {
	var tree map[string]any
	var sets []params
	if err := json.Unmarshal(in.Template, &tree); err != nil {
		return filled{}, err
	}
	if err := json.Unmarshal(in.Sets, &sets); err != nil {
		return filled{}, err
	}
	f := &filler{style: in.Style}
	for _, o := range in.Style.Options {
		if !slices.Contains([]string{"missingkey=default", "missingkey=invalid", "missingkey=zero", "missingkey=error"}, o) {
			return filled{Error: fmt.Sprintf("goTemplateOptions: there is no option %q", o)}, nil
		}
	}
	out := make([]any, 0, len(sets))
	for _, p := range sets {
		v, err := f.value(tree, p)
		if err != nil {
			return filled{Error: err.Error()}, nil
		}
		out = append(out, v)
	}
	text, err := json.Marshal(out)
	return filled{Filled: text}, err
})

type filler struct {
	style
	total int
}

func (f *filler) value(v any, p params) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			name, err := f.text(k, p)
			if err != nil {
				return nil, err
			}
			if out[name], err = f.value(inner, p); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, inner := range v {
			one, err := f.value(inner, p)
			if err != nil {
				return nil, err
			}
			out = append(out, one)
		}
		return out, nil
	case string:
		return f.text(v, p)
	}
	return v, nil
}

// placeholder is a plain name; one that no parameter has stays as it is, as in Argo CD: it may be meant for somebody else.
var placeholder = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

func (f *filler) text(s string, p params) (string, error) {
	switch {
	case !strings.Contains(s, "{{"):
	case !f.Go:
		s = placeholder.ReplaceAllStringFunc(s, func(whole string) string {
			if v, ok := p[placeholder.FindStringSubmatch(whole)[1]].(string); ok {
				return v
			}
			return whole
		})
	default:
		t, err := template.New("").Funcs(functions()).Option(f.Options...).Parse(s)
		if err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
		var b strings.Builder
		if err := t.Execute(&b, p); err != nil {
			return "", fmt.Errorf("%q: %w", s, err)
		}
		s = b.String()
	}
	if f.total += len(s); f.total > maxFilled {
		return "", fmt.Errorf("the templates become more than %d MiB", maxFilled>>20)
	}
	return s, nil
}

// functions are those that Argo CD has: sprig's but for the ones that ask the machine something, and a few of its own.
func functions() template.FuncMap {
	m := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(m, name)
	}
	m["normalize"] = normalized
	m["slugify"] = slugify
	m["toYaml"] = func(v any) (string, error) {
		text, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	m["fromYaml"] = func(s string) (out map[string]any, err error) { return out, yaml.Unmarshal([]byte(s), &out) }
	m["fromYamlArray"] = func(s string) (out []any, err error) { return out, yaml.Unmarshal([]byte(s), &out) }
	return m
}

var noName = regexp.MustCompile(`[^a-z0-9.-]`)

// normalized makes a name of an object of a text.
func normalized(s string) string {
	s = noName.ReplaceAllString(strings.ToLower(s), "-")
	return strings.Trim(s[:min(len(s), 253)], "-.")
}

var noSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slugify takes a text, and before it the longest that the result may be and whether it is cut between words.
func slugify(args ...any) (string, error) {
	longest, between := 50, true
	if len(args) > 1 {
		n, ok := args[0].(int)
		if !ok || n <= 0 {
			return "", fmt.Errorf("slugify: the longest must be a number above 0, got %v", args[0])
		}
		longest = n
	}
	if len(args) > 2 {
		between, _ = args[1].(bool)
	}
	s, ok := "", len(args) > 0
	if ok {
		s, ok = args[len(args)-1].(string)
	}
	if !ok {
		return "", errors.New("slugify: the last argument must be a text")
	}
	s = strings.Trim(noSlug.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > longest {
		cut := s[:longest]
		if i := strings.LastIndex(cut, "-"); between && i > 0 && s[longest] != '-' {
			cut = cut[:i]
		}
		s = strings.Trim(cut, "-")
	}
	return s, nil
}
