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
	"net/http"
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

// format reads one host's way of posting.
type format struct {
	header string
	parse  func(*http.Request, []byte) (Push, bool, error)
}

var formats = map[string]format{
	"github":  {header: "X-Hub-Signature-256", parse: github},
	"generic": {header: "X-Gitopsd-Signature", parse: generic},
}

// answer is the JSON of every response.
type answer struct {
	Message   string   `json:"message,omitempty"`
	Error     string   `json:"error,omitempty"`
	Triggered []string `json:"triggered,omitempty"`
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/webhook/")
	f, ok := formats[name]
	switch {
	case !ok:
		refuse(w, r, http.StatusNotFound, "no such webhook; post to /webhook/github or /webhook/generic")
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
	if !Verify(h.Secret, body, r.Header.Get(f.header)) {
		refuse(w, r, http.StatusUnauthorized, fmt.Sprintf("%s is missing or wrong; it must be sha256= and the HMAC-SHA256 of the body with the webhook secret of this installation", f.header))
		return
	}
	push, isPush, err := f.parse(r, body)
	switch {
	case err != nil:
		refuse(w, r, http.StatusBadRequest, err.Error())
	case !isPush:
		write(w, http.StatusOK, answer{Message: "nothing to do for this event"})
	default:
		write(w, http.StatusAccepted, answer{Message: "accepted", Triggered: h.Pushed(push)})
	}
}

// Sign returns the signature header's value for a body.
func Sign(secret, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// Verify says whether a signature header's value is that of the body. The comparison takes the same time whatever is wrong.
func Verify(secret, body []byte, signature string) bool {
	return len(secret) > 0 && hmac.Equal([]byte(signature), []byte(Sign(secret, body)))
}

// github reads GitHub's push event; Gitea and Forgejo post the same when asked for GitHub's form.
func github(r *http.Request, body []byte) (Push, bool, error) {
	switch event := r.Header.Get("X-GitHub-Event"); event {
	case "push":
	case "":
		return Push{}, false, errors.New("the header X-GitHub-Event is missing")
	default:
		return Push{}, false, nil // ping, and whatever else somebody subscribed to
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return Push{}, false, errors.New("set the webhook's content type to application/json")
	}
	var p struct {
		Ref        string `json:"ref"`
		After      string `json:"after"`
		Repository struct {
			CloneURL string `json:"clone_url"`
			SSHURL   string `json:"ssh_url"`
			GitURL   string `json:"git_url"`
			HTMLURL  string `json:"html_url"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return Push{}, false, errors.New("the body is not the JSON of a push event")
	}
	push := Push{Ref: p.Ref, Commit: p.After}
	for _, u := range []string{p.Repository.CloneURL, p.Repository.SSHURL, p.Repository.GitURL, p.Repository.HTMLURL} {
		if u != "" {
			push.Repos = append(push.Repos, u)
		}
	}
	if len(push.Repos) == 0 {
		return Push{}, false, errors.New("the push event names no repository")
	}
	return push, true, nil
}

// generic reads gitopsd's own form, {"repo": URL, "ref": "refs/heads/main", "commit": hash}; ref may be a branch's short name, and ref
// and commit may be left out.
func generic(_ *http.Request, body []byte) (Push, bool, error) {
	var p struct {
		Repo   string `json:"repo"`
		Ref    string `json:"ref"`
		Commit string `json:"commit"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return Push{}, false, errors.New(`the body must be JSON such as {"repo":"https://git.example.com/shop.git","ref":"refs/heads/main"}`)
	}
	if p.Repo == "" {
		return Push{}, false, errors.New(`"repo" is missing; it must be the repository's URL`)
	}
	if p.Ref != "" && !strings.HasPrefix(p.Ref, "refs/") {
		p.Ref = "refs/heads/" + p.Ref
	}
	return Push{Repos: []string{p.Repo}, Ref: p.Ref, Commit: p.Commit}, true, nil
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
