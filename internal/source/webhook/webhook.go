package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// MaxBody bounds a request's body. GitHub's pushes of a few thousand commits stay below; what is beyond is cut off unread.
const MaxBody = 1 << 20

// Push is what a host says happened.
type Push struct {
	// Repos are the URLs under which the host knows the repository: https, ssh, and so on.
	Repos []string
	// Ref is the full name of what was pushed, such as refs/heads/main; empty when the host does not say.
	Ref string
	// Commit is the new commit, or empty. It is a hint for the log; what is applied is what the ref is when it is fetched.
	Commit string
}

// Handler answers under /webhook/.
type Handler struct {
	// Secret is what signatures are made with.
	Secret []byte
	// Pushed is told of each push and returns the names of the Applications that will be looked at because of it. It must not block.
	Pushed func(Push) []string

	limits limits
}

// answer is the JSON of every response.
type answer struct {
	Message   string   `json:"message,omitempty"`
	Error     string   `json:"error,omitempty"`
	Triggered []string `json:"triggered,omitempty"`
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/webhook/")
	host, ok := hosts[name]
	switch {
	case !ok:
		refuse(w, r, http.StatusNotFound, "no such webhook; post to /webhook/ and one of "+strings.Join(slices.Sorted(maps.Keys(hosts)), ", "))
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, r, http.StatusMethodNotAllowed, "webhooks are posted")
		return
	case !h.limits.allow(r.RemoteAddr):
		w.Header().Set("Retry-After", "1")
		refuse(w, r, http.StatusTooManyRequests, "too many webhooks from this address; the poll will find the commit")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes; post push events only", MaxBody))
		return
	case err != nil:
		refuse(w, r, http.StatusBadRequest, "the body ended early")
		return
	}
	if len(h.Secret) == 0 || !host.proven(r.Header, h.Secret, body) {
		refuse(w, r, http.StatusUnauthorized, "the proof of the secret is missing or wrong: "+host.proof+"; the secret is the webhook secret of this installation")
		return
	}
	pushes, err := host.parse(r.Header, body)
	switch {
	case err != nil:
		refuse(w, r, http.StatusBadRequest, err.Error())
		return
	case len(pushes) == 0:
		write(w, http.StatusOK, answer{Message: "nothing to do for this event"})
		return
	case len(pushes) > maxPushes:
		refuse(w, r, http.StatusBadRequest, fmt.Sprintf("more than %d refs in one event; the poll will find the commits", maxPushes))
		return
	}
	var triggered []string
	for _, p := range pushes {
		triggered = append(triggered, h.Pushed(p)...)
	}
	slices.Sort(triggered)
	write(w, http.StatusAccepted, answer{Message: "accepted", Triggered: slices.Compact(triggered)})
}

// Verify says whether a signature header's value is that of the body. The comparison takes the same time whatever is wrong.
func Verify(secret, body []byte, signature string) bool {
	return len(secret) > 0 && hmac.Equal([]byte(signature), []byte(Sign(secret, body)))
}

// maxPushes bounds the refs of one event.
const maxPushes = 1000

// Sign returns the signature header's value for a body.
func Sign(secret, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

func refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	slog.Warn("webhook refused", "path", r.URL.Path, "from", r.RemoteAddr, "status", status, "why", why)
	write(w, status, answer{Error: why})
}

func write(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // a host that does not read the answer loses nothing
}
