package server

import (
	"io/fs"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// systemLogs sends files of the host's log directory, and lists of what is in it, or answers a query about services' logs. A link that leads out of it is not followed: a Pod that may write below that directory must not read
// the host's other files by way of this.
func (s *Server) systemLogs(w http.ResponseWriter, r *http.Request) {
	if s.Facts.SystemLogs == "" {
		http.Error(w, "logs endpoint is disabled: this node was started with --enable-system-log-handler=false", http.StatusMethodNotAllowed)
		return
	}
	root, err := os.OpenRoot(s.Facts.SystemLogs)
	if err != nil {
		http.Error(w, "the host's logs: "+err.Error(), http.StatusNotFound)
		return
	}
	defer root.Close()
	if v := r.URL.Query(); r.URL.Path == "/logs/" && v.Has("query") {
		q, err := parseLogQuery(v)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		q.answer(r.Context(), root, w)
		return
	}
	http.StripPrefix("/logs/", http.FileServerFS(hostLogs{root})).ServeHTTP(w, r)
}

// hostLogs are the files in a directory.
type hostLogs struct{ root *os.Root }

// Open implements fs.FS.
func (l hostLogs) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return openNow(l.root, name)
}

// openNow opens a file or directory. Nothing else: a pipe that a Pod has made there would be waited for, and for ever.
func openNow(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
