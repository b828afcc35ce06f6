package shutdown

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Where a daemon listens for `node shutdown`, below its data directory. Only root gets into the folder.
const (
	folder     = "control"
	socketName = "shutdown.sock"
	path       = "/shutdown"
)

func socket(dataDir string) string { return filepath.Join(dataDir, folder, socketName) }

// Serve answers `node shutdown` until ctx ends. shutDown returns when the Pods have ended, with a line about them.
func Serve(ctx context.Context, dataDir string, shutDown func(context.Context) (string, error)) error {
	at := socket(dataDir)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return fmt.Errorf("listening for `node shutdown`: %w", err)
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) { // of a daemon that was killed; the data directory's lock is ours
		return fmt.Errorf("listening for `node shutdown`: %w", err)
	}
	l, err := net.Listen("unix", at)
	if err != nil {
		return fmt.Errorf("listening for `node shutdown`: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
		// Not the request's context: a command that is interrupted leaves no half of the Pods running.
		text, err := shutDown(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		fmt.Fprintln(w, text)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listening for `node shutdown`: %w", err)
	}
	return nil
}

// Ask has the daemon of a data directory end its Pods, waits for that, and gives what it says.
func Ask(ctx context.Context, dataDir string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket(dataDir))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return "", fmt.Errorf("no node daemon runs with --data-dir %s; name the one that the daemon was started with", dataDir)
	}
	if err != nil {
		return "", fmt.Errorf("asking the node daemon of %s: %w", dataDir, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("the node daemon of %s ended before it had answered: %w", dataDir, err)
	}
	said := string(bytes.TrimSpace(text))
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(said)
	}
	return said, nil
}
