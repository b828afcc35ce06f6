package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/fsnotify/fsnotify"
)

// Archives imports image archives (docker save, OCI layout) from a directory.
type Archives struct {
	store *Store
	dir   string
	// seen remembers what was imported, so that a restart does not read gigabytes again.
	seen     map[string]stamp
	seenFile string
}

type stamp struct {
	Size    int64
	ModTime time.Time
	Images  []string
}

// NewArchives watches dir for s; what was imported is remembered in seenFile.
func NewArchives(s *Store, dir, seenFile string) *Archives {
	a := &Archives{store: s, dir: dir, seenFile: seenFile, seen: map[string]stamp{}}
	if b, err := os.ReadFile(seenFile); err == nil {
		if json.Unmarshal(b, &a.seen) != nil {
			a.seen = map[string]stamp{} // written half-way by a crash: reading the archives again repairs it
		}
	}
	return a
}

// Run imports what is there, then whatever appears, until ctx ends. Pods that want a missing image wait for the first pass.
func (a *Archives) Run(ctx context.Context) error {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return fmt.Errorf("making the image archive directory: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s for image archives: %w; raise fs.inotify.max_user_instances", a.dir, err)
	}
	defer w.Close()
	if err := w.Add(a.dir); err != nil {
		return fmt.Errorf("watching %s for image archives: %w", a.dir, err)
	}
	a.scan(ctx)
	close(a.store.imported)
	a.store.WarmUp(ctx)

	// A file is imported when nothing has been written to it for quiet; a copy sends many events.
	const quiet = 300 * time.Millisecond
	settle := time.NewTimer(quiet)
	settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if strings.HasSuffix(e.Name, ".tar") && !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Chmod) {
				settle.Reset(quiet)
			}
		case err := <-w.Errors:
			slog.Warn("watching for image archives", "dir", a.dir, "err", err)
			settle.Reset(quiet)
		case <-settle.C:
			a.scan(ctx)
		}
	}
}

func (a *Archives) scan(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(a.dir, "*.tar"))
	for _, f := range files {
		if ctx.Err() != nil {
			return
		}
		if err := a.one(ctx, f); err != nil && !errors.Is(err, context.Canceled) {
			slog.Error("importing an image archive failed; replace the file to try again", "archive", f, "err", err)
		}
	}
}

func (a *Archives) one(ctx context.Context, file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if old, ok := a.seen[file]; ok && old.Size == info.Size() && old.ModTime.Equal(info.ModTime()) && a.present(ctx, old.Images) {
		return nil
	}
	began := time.Now()
	names, err := a.store.Import(ctx, file)
	if err != nil {
		return err
	}
	slog.Info("image archive imported", "archive", file, "images", names, "took", time.Since(began).Round(time.Millisecond))
	a.store.arrived()
	a.seen[file] = stamp{info.Size(), info.ModTime(), names}
	b, err := json.Marshal(a.seen)
	if err != nil {
		return err
	}
	return os.WriteFile(a.seenFile, b, 0o600)
}

func (a *Archives) present(ctx context.Context, names []string) bool {
	for _, n := range names {
		if _, err := a.store.client.ImageService().Get(ctx, n); err != nil {
			return false
		}
	}
	return true
}

// Import reads one archive into the store and says which images it held.
func (s *Store) Import(ctx context.Context, file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ctx, done, err := withLease(ctx, s.client)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer done(context.WithoutCancel(ctx))
	list, err := s.client.Import(ctx, f, client.WithImageRefTranslator(func(name string) string {
		full, err := Normalize(name)
		if err != nil || !strings.ContainsAny(name, "/:") {
			return "" // an OCI layout may name only a tag; there is no image to be found under that
		}
		return full
	}), client.WithSkipMissing())
	if err != nil {
		return nil, pullError(file, s.dir, err)
	}
	var names []string
	for _, rec := range list {
		names = append(names, rec.Name)
		s.mu.Lock()
		delete(s.byRef, rec.Name) // the tag may stand for something else now
		s.mu.Unlock()
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: holds no image for this machine's architecture with a name; save it with its tag", file)
	}
	return names, nil
}
