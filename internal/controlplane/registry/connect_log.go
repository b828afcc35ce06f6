package registry

import (
	"context"
	"errors"
	"io"

	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
)

// logStream is a node's answer on its way to the client.
type logStream struct{ *genericrest.LocationStreamer }

var _ rest.ResourceStreamer = logStream{}

func (s logStream) InputStream(ctx context.Context, apiVersion, accept string) (io.ReadCloser, bool, string, error) {
	stream, flush, contentType, err := s.LocationStreamer.InputStream(ctx, apiVersion, accept)
	if stream != nil {
		stream = &endAlone{stream}
	}
	return stream, flush, contentType, err
}

// endAlone tells the end of a stream in a read of its own. The library's copy to a WebSocket drops what comes together with it, and a short log
// comes whole with its end.
type endAlone struct{ io.ReadCloser }

func (r *endAlone) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
