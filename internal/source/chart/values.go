package chart

import (
	"bytes"
	"fmt"
	"path"

	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"github.com/gitopsd/gitopsd/internal/source"
)

// merge returns what is given beside the chart's own values.yaml: each file over those before it, and the release's values over all.
func merge(files []source.File, root string, r Release) (map[string]any, error) {
	values := map[string]any{}
	for _, name := range r.ValuesFiles {
		at := path.Join(root, name)
		data, ok := find(files, at)
		if !ok {
			return nil, source.ParseErrors{{File: at, Message: "spec.source.helm.valuesFiles names it, but the commit has no such file; paths are relative to the chart's folder and stay in it"}}
		}
		more, err := loader.LoadValues(bytes.NewReader(data))
		if err != nil {
			return nil, source.ParseErrors{{File: at, Message: fmt.Sprintf("cannot be read as values: %v", err)}}
		}
		values = loader.MergeMaps(values, more)
	}
	return loader.MergeMaps(values, r.Values), nil
}

func find(files []source.File, name string) ([]byte, bool) {
	for _, f := range files {
		if f.Path == name {
			return f.Data, true
		}
	}
	return nil, false
}
