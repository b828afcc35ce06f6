package chart_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
)

// The script in testdata/lines shows for each line of what a template makes the template's line that it is told to come from.
//
//	helpers     the file _helpers.tpl
//	template    a template, and what it makes
func TestLinesOfTemplates(t *testing.T) {
	helpers := ""
	datadriven.RunTest(t, "testdata/lines", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "helpers":
			helpers = d.Input
			return ""
		case "template":
			files := []source.File{
				{Path: "web/Chart.yaml", Data: []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
				{Path: "web/values.yaml", Data: []byte("colour: red\nlist: [a, b]\nmap: {one: 1, two: 2}\n")},
				{Path: "web/templates/_helpers.tpl", Data: []byte(helpers)},
				{Path: "web/templates/other.yaml", Data: []byte("a: 1\n")},
				{Path: "web/templates/x.yaml", Data: []byte(d.Input)},
			}
			rendered, err := chart.Render(t.Context(), files, "web", chart.Release{Name: "shop", Namespace: "ns"})
			if err != nil || len(rendered) != 2 {
				d.Fatalf(t, "%d files, %v", len(rendered), err)
			}
			made := rendered[1]
			if len(made.Lines) == 0 {
				return "no lines\n"
			}
			var b strings.Builder
			for i, text := range strings.Split(string(made.Data), "\n") {
				fmt.Fprintf(&b, "%d  %s\n", made.Lines[i], text)
			}
			return b.String()
		}
		d.Fatalf(t, "unknown command %s", d.Cmd)
		return ""
	})
}
