package reload

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"time"

	"k8s.io/apiserver/pkg/util/filesystem"
)

// interval is how often a file is looked at when the system reports no change of it, as on network file systems.
const interval = time.Minute

// File is a configuration file that is in force already.
type File struct {
	// Path is where it is; Flag is the flag that named it, for messages.
	Path, Flag string
	// Content is what is in force.
	Content []byte
	// Apply puts a new content in force, or says why it cannot; then the old one must still be. It may take its time, until ctx ends.
	Apply func(ctx context.Context, content []byte) error
	// Applied and Refused are told of each outcome.
	Applied func(content []byte)
	Refused func()
}

// Follow watches the file until ctx ends.
func (f *File) Follow(ctx context.Context) {
	said := ""
	report := func(err error) {
		if said != err.Error() {
			slog.Error("a changed configuration file is not in force; what it said before is", "file", f.Path, "flag", f.Flag, "err", err)
		}
		said = err.Error()
	}
	filesystem.WatchUntil(ctx, interval, f.Path, func() {
		content, err := os.ReadFile(f.Path)
		if err != nil {
			f.Refused()
			report(err)
			return
		}
		if bytes.Equal(content, f.Content) {
			said = ""
			return
		}
		if err := f.Apply(ctx, content); err != nil {
			if ctx.Err() == nil {
				f.Refused()
				report(err)
			}
			return
		}
		said, f.Content = "", content
		f.Applied(content)
		slog.Info("a changed configuration file is in force", "file", f.Path, "flag", f.Flag)
	}, report)
}
