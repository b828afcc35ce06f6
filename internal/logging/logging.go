package logging

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// Setup makes w the destination of every log line of this process, from level on, as text; it serves the libraries' klog and logr too.
// Library lines below warning are shown only at level debug: the client and server libraries say a great deal that is nobody's business.
func Setup(w io.Writer, level slog.Level) {
	slog.SetDefault(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})))
	library := max(level, slog.LevelWarn)
	if level <= slog.LevelDebug {
		library = level
	}
	klog.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(w, &slog.HandlerOptions{Level: library}).WithAttrs([]slog.Attr{slog.String("from", "library")})))
}
