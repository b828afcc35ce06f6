package plugins

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Plugin is what a program said of itself.
type Plugin struct {
	Type     string // CSIPlugin, DRAPlugin or DevicePlugin
	Name     string
	Endpoint string // path of the socket that it serves at
	Versions []string
}

// Kind takes the plugins of one type.
//
// Add is called when a plugin appears, and again if that failed or if the plugin has started anew; its error is told to the plugin. Remove is called once after an
// Add that succeeded, when the socket is gone. Calls about one socket come one after the other, those about several at the same time.
type Kind interface {
	Add(ctx context.Context, p Plugin) error
	Remove(p Plugin)
}

// Watcher follows one folder.
type Watcher struct {
	Dir   string
	Kinds map[string]Kind // by type

	sessions map[string]*session
}

// stamp tells a socket from a later one of the same name.
type stamp struct {
	inode   uint64
	created time.Time
}

// Run follows the folder, which it makes, until ctx ends. Plugins are not removed then: they live on, and so does what they have done.
func (w *Watcher) Run(ctx context.Context) error {
	if err := os.MkdirAll(w.Dir, 0o750); err != nil {
		return fmt.Errorf("making the folder where plugins register: %w", err)
	}
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s for plugins: %w; raise fs.inotify.max_user_instances", w.Dir, err)
	}
	defer inotify.Close()
	w.sessions = map[string]*session{}
	for {
		found, err := scan(w.Dir, inotify.Add)
		if err != nil {
			return fmt.Errorf("looking for plugins in %s: %w", w.Dir, err)
		}
		w.follow(ctx, found)
		select {
		case <-ctx.Done():
			for _, s := range w.sessions {
				<-s.done
			}
			return nil
		case <-inotify.Events:
		case err := <-inotify.Errors:
			slog.Warn("watching for plugins", "dir", w.Dir, "err", err)
		}
	}
}

// follow begins sessions with sockets that are new, and ends those with sockets that are gone.
func (w *Watcher) follow(ctx context.Context, found map[string]stamp) {
	have := map[string]stamp{}
	for path, s := range w.sessions {
		have[path] = s.stamp
	}
	gone, fresh := changes(have, found)
	for _, path := range gone {
		w.sessions[path].end()
		if _, again := found[path]; !again {
			delete(w.sessions, path)
		}
	}
	for _, path := range fresh {
		w.sessions[path] = begin(ctx, path, found[path], w.sessions[path], w.Kinds)
	}
}

// changes compares what is followed with what was found. A socket that was replaced is in both lists.
func changes(have, found map[string]stamp) (gone, fresh []string) {
	for path, s := range have {
		if now, ok := found[path]; !ok || now != s {
			gone = append(gone, path)
		}
	}
	for path, s := range found {
		if was, ok := have[path]; !ok || was != s {
			fresh = append(fresh, path)
		}
	}
	return gone, fresh
}

// scan lists the sockets in a folder and those below it, and has each folder watched before it is read. Names with a dot in front are left out, as upstream does.
func scan(dir string, watch func(string) error) (map[string]stamp, error) {
	out := map[string]stamp{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err) && path != dir:
			return nil // it went meanwhile
		case err != nil:
			return err
		case path != dir && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			if err := watch(path); err != nil && (path == dir || !os.IsNotExist(err)) {
				return err
			}
		case e.Type()&fs.ModeSocket != 0:
			var st unix.Stat_t
			if unix.Lstat(path, &st) == nil {
				out[path] = stamp{st.Ino, time.Unix(st.Mtim.Unix())}
			}
		}
		return nil
	})
	return out, err
}
