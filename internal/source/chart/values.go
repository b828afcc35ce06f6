package chart

import (
	"bytes"
	"encoding/json"
	"fmt"

	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"github.com/gitopsd/gitopsd/internal/source"
)

// Values merges what is given beside a chart's own values.yaml: each file over those before it, and own, which is JSON or nothing, over all.
func Values(files []source.File, own []byte) (map[string]any, error) {
	values := map[string]any{}
	for _, f := range files {
		more, err := loader.LoadValues(bytes.NewReader(f.Data))
		if err != nil {
			return nil, source.ParseErrors{{File: f.Path, Message: fmt.Sprintf("cannot be read as values: %v", err)}}
		}
		values = loader.MergeMaps(values, more)
	}
	if len(own) > 0 {
		var more map[string]any
		if err := json.Unmarshal(own, &more); err != nil {
			return nil, fmt.Errorf("spec.source.helm.values: %w", err)
		}
		values = loader.MergeMaps(values, more)
	}
	return values, nil
}
