package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/diff"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The scripts in testdata hold Applications as the API has them and what commands print about them. Colours are shown as <green>…<>.
//
//	applications            what there is, for the commands after it
//	nodes                   the nodes, for the commands after it
//	owned                   what stands below their objects: ReplicaSets, Jobs, Pods
//	status [output=F] [colour] [tree]
//	history [output=F]
//	progress request=R      what sync --wait prints
func TestOutput(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var apps []v1alpha1.Application
		var nodes []corev1.Node
		var owned []*unstructured.Unstructured
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			format := cli.Table
			if d.HasArg("output") {
				var text string
				d.ScanArgs(t, "output", &text)
				format = cli.Format(text)
			}
			var b bytes.Buffer
			switch d.Cmd {
			case "applications":
				apps = nil
				for _, doc := range documents(d.Input) {
					var app v1alpha1.Application
					if err := yaml.UnmarshalStrict([]byte(doc), &app); err != nil {
						d.Fatalf(t, "%v", err)
					}
					apps = append(apps, app)
				}
				return ""
			case "none":
				apps = nil
				return ""
			case "nodes":
				nodes = []corev1.Node{}
				for _, doc := range documents(d.Input) {
					var n corev1.Node
					if err := yaml.UnmarshalStrict([]byte(doc), &n); err != nil {
						d.Fatalf(t, "%v", err)
					}
					nodes = append(nodes, n)
				}
				return ""
			case "owned":
				owned = nil
				for _, doc := range documents(d.Input) {
					j, err := yaml.YAMLToJSON([]byte(doc))
					if err != nil {
						d.Fatalf(t, "%v", err)
					}
					var u unstructured.Unstructured
					if err := u.UnmarshalJSON(j); err != nil {
						d.Fatalf(t, "%v", err)
					}
					owned = append(owned, &u)
				}
				return ""
			case "status":
				r := cli.NewReport(apps)
				if nodes != nil {
					r.AddNodes(nodes)
				}
				if d.HasArg("tree") {
					r.AddTrees(apps, owned)
				}
				if err := cli.WriteStatus(&b, r, format, now, d.HasArg("colour")); err != nil {
					d.Fatalf(t, "%v", err)
				}
				fmt.Fprintf(&b, "exit status with --exit-code: %d\n", r.ExitCode())
			case "history":
				if err := cli.WriteHistory(&b, &apps[0], format, now, false); err != nil {
					d.Fatalf(t, "%v", err)
				}
			case "progress":
				var request string
				d.ScanArgs(t, "request", &request)
				line, code, done := cli.Progress(&apps[0], request)
				fmt.Fprintf(&b, "%s\ndone %t, exit status %d\n", line, done, code)
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return visible(b.String())
		})
	})
}

// documents splits YAML; no text is none.
func documents(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split("\n"+text, "\n---\n")
}

// visible writes colours as words, and keeps blank lines from ending a script's output.
func visible(s string) string {
	for code, name := range map[cli.Style]string{cli.Bold: "<bold>", cli.Dim: "<dim>", cli.Red: "<red>", cli.Green: "<green>", cli.Yellow: "<yellow>", "\x1b[0m": "<>"} {
		s = strings.ReplaceAll(s, string(code), name)
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestAPlanShowsEachChangeWithItsLine(t *testing.T) {
	ref := func(name string) v1alpha1.ObjectRef {
		return v1alpha1.ObjectRef{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: name}
	}
	plan := diff.Plan{
		{Action: diff.Create, Ref: ref("new")},
		{Action: diff.Update, Ref: ref("web"), Fields: []diff.Field{
			{Path: "spec.replicas", Want: int64(3), HasWant: true, Live: int64(2), HasLive: true},
			{Path: "spec.paused", Live: true, HasLive: true},
		}},
		{Action: diff.Unchanged, Ref: ref("same")},
		{Action: diff.Prune, Ref: ref("old")},
		{Action: diff.Release, Ref: ref("kept"), Reason: "it existed before Git named it"},
	}
	where := func(k diff.Key, field string) (string, int) {
		if k.Name == "old" || k.Name == "kept" {
			return "", 0
		}
		return "web.yaml", 1 + len(field)
	}
	r := cli.NewPlanReport(plan, where, nil, nil)
	r.Omitted, r.Waiting = 2, []string{"crs.yaml:1: Widget shop/w: kind: the cluster knows no kind Widget"}
	var b bytes.Buffer
	if err := cli.WritePlan(&b, r, cli.Table, false); err != nil {
		t.Fatal(err)
	}
	want := `+ create Deployment shop/new  web.yaml:1
~ update Deployment shop/web  web.yaml:1
    spec.replicas  2     →  3  line 14
    spec.paused    true  →  -
- prune Deployment shop/old
o release Deployment shop/kept  (it existed before Git named it)
1 to create, 1 to update, 1 to prune, 1 unchanged, 2 left out by spec.source.omit
later: crs.yaml:1: Widget shop/w: kind: the cluster knows no kind Widget
`
	if d := cmp.Diff(want, visible(b.String())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if r.ExitCode() != cli.ExitOutOfSync {
		t.Errorf("exit status %d", r.ExitCode())
	}
	if code := cli.NewPlanReport(plan[2:3], where, nil, nil).ExitCode(); code != cli.ExitInSync {
		t.Errorf("exit status %d when nothing changes", code)
	}
	refused := cli.NewPlanReport(plan, where, nil, fmt.Errorf("a.yaml:1: no\na.yaml:2: no"))
	b.Reset()
	if err := cli.WritePlan(&b, refused, cli.JSON, false); err != nil || refused.ExitCode() != cli.ExitError {
		t.Errorf("exit status %d, %v", refused.ExitCode(), err)
	}
	var back cli.PlanReport
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(refused, back); d != "" {
		t.Errorf("JSON does not read back (-want +got):\n%s", d)
	}
}

func TestUnknownFormatsAreRefused(t *testing.T) {
	if _, err := cli.ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), "table, json or yaml") {
		t.Errorf("%v", err)
	}
}

// A time that the API gives in whole seconds may lie a little ahead of this machine's clock.
func TestATimeAheadIsJustNow(t *testing.T) {
	app := v1alpha1.Application{Status: v1alpha1.ApplicationStatus{History: []v1alpha1.HistoryEntry{{Time: metav1.MicroTime{Time: now.Add(time.Second)}, Result: "Applied"}}}}
	var b bytes.Buffer
	if err := cli.WriteHistory(&b, &app, cli.Table, now, false); err != nil || !strings.Contains(b.String(), "just now") {
		t.Errorf("%v\n%s", err, &b)
	}
}
