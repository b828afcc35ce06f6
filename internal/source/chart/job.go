package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/sandbox"
)

// work is what the process that renders is given. Values travel as JSON, which is what they are.
type work struct {
	Files   []source.File
	Root    string
	Release Release
	Values  []byte
}

// result is what it gives back; what is wrong with the chart is a result too.
type result struct {
	Files  []source.File
	Errors source.ParseErrors
}

var job = sandbox.New("chart", func(ctx context.Context, w work) (result, error) {
	if err := json.Unmarshal(w.Values, &w.Release.Values); err != nil {
		return result{}, err
	}
	files, err := Render(ctx, w.Files, w.Root, w.Release)
	var wrong source.ParseErrors
	if errors.As(err, &wrong) {
		return result{Errors: wrong}, nil
	}
	return result{Files: files}, err
})

// RenderApart is Render in a process of its own, which is ended when it takes more time or memory than it may.
func RenderApart(ctx context.Context, files []source.File, root string, r Release) ([]source.File, error) {
	values, err := json.Marshal(r.Values)
	if err != nil {
		return nil, fmt.Errorf("values of the chart: %w", err)
	}
	r.Values = nil
	out, err := job.Do(ctx, work{Files: files, Root: root, Release: r, Values: values})
	switch {
	case errors.Is(err, sandbox.ErrLimits):
		return nil, source.ParseErrors{{File: path.Join(root, definition), Message: fmt.Sprintf("the chart's templates cannot be rendered: %v; is there a loop in them that does not end?", err)}}
	case err != nil:
		return nil, err
	case len(out.Errors) > 0:
		return nil, out.Errors
	}
	return out.Files, nil
}
