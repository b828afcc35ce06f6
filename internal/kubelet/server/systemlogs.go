package server

import (
	"net/http"
	"os"
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
	http.StripPrefix("/logs/", http.FileServerFS(root.FS())).ServeHTTP(w, r)
}
