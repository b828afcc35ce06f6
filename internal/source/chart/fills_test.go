package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
)

// The script in testdata/fills shows for each line of what templates make where the value on it is set.
//
//	file path=P         a file of the chart in the folder web; none with nothing in it
//	values [path=P]     one layer more of values over the chart's; without a path it is in no file
//	forget              there are no values beside the chart's own any more
//	template [path=P]   a template, and what it makes
func TestWhereValuesAreSet(t *testing.T) {
	files := map[string]string{"web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n"}
	var layers []source.File
	datadriven.RunTest(t, "testdata/fills", func(t *testing.T, d *datadriven.TestData) string {
		path := ""
		if d.HasArg("path") {
			d.ScanArgs(t, "path", &path)
		}
		switch d.Cmd {
		case "file":
			files["web/"+path] = d.Input
			return ""
		case "values":
			layers = append(layers, source.File{Path: path, Data: []byte(d.Input)})
			return ""
		case "forget":
			layers = nil
			return ""
		case "template":
			if path == "" {
				path = "templates/x.yaml"
			}
			all := maps.Clone(files)
			all["web/"+path] = d.Input
			return fills(t, d, all, layers, "web/"+path)
		}
		d.Fatalf(t, "unknown command %s", d.Cmd)
		return ""
	})
}

func fills(t *testing.T, d *datadriven.TestData, files map[string]string, layers []source.File, template string) string {
	var all []source.File
	for _, path := range slices.Sorted(maps.Keys(files)) {
		all = append(all, source.File{Path: path, Data: []byte(files[path])})
	}
	values, err := chart.Values(layers, nil)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	rendered, err := chart.Render(t.Context(), all, "web", chart.Release{Name: "shop", Namespace: "ns", Values: values, Layers: layers})
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	var b strings.Builder
	for _, made := range rendered {
		if made.Path != template {
			continue
		}
		for i, text := range strings.Split(strings.TrimSuffix(string(made.Data), "\n"), "\n") {
			at := ""
			if p, ok := made.Filled[i+1]; ok {
				at = source.At(p.File, p.Line)
			}
			fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-28s%s", at, text), " "))
		}
	}
	return b.String()
}
