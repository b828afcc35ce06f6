package commitstatus

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Host is where the statuses of one repository's commits go.
type Host struct {
	provider v1alpha1.CommitStatusProvider
	// api is the URL that all requests begin with, without a slash at the end.
	api        string
	repository string
	name       string
	token      string
	client     *http.Client
}

// timeout bounds one request.
const timeout = 15 * time.Second

// New makes a Host for an Application with spec.commitStatus. token, and ca in PEM where the host's certificate needs it, come from its Secret.
func New(app *v1alpha1.Application, token string, ca []byte) (*Host, error) {
	spec := app.Spec.CommitStatus
	host, repository, err := locate(app.Spec.Source.RepoURL)
	if err != nil {
		return nil, err
	}
	h := &Host{provider: spec.Provider, repository: repository, name: spec.Context, token: token, api: strings.TrimSuffix(spec.URL, "/")}
	if h.name == "" {
		h.name = "gitopsd/" + app.Namespace + "/" + app.Name
	}
	if h.api == "" {
		h.api = "https://" + host
		switch {
		case spec.Provider == v1alpha1.GitHub && host == "github.com":
			h.api = "https://api.github.com"
		case spec.Provider == v1alpha1.GitHub:
			h.api += "/api/v3"
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // the next commit may be days away
	if len(ca) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("caFile holds no certificate in PEM form")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	h.client = &http.Client{Timeout: timeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return h, nil
}

// locate finds a repository's host and its path there in any form of its URL.
func locate(repoURL string) (host, repository string, err error) {
	path := ""
	if u, perr := url.Parse(repoURL); perr == nil && u.Host != "" {
		host, path = u.Hostname(), u.Path
	} else if before, after, ok := strings.Cut(repoURL, ":"); ok && !strings.Contains(before, "/") && !strings.HasPrefix(after, "//") {
		_, name, at := strings.Cut(before, "@")
		if host = before; at {
			host = name
		}
		path = after
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if host == "" || !strings.Contains(path, "/") {
		return "", "", fmt.Errorf("spec.source.repoURL %q does not say which repository of which host it is, as https://host/owner/name does", repoURL)
	}
	return host, path, nil
}

// Post tells the host. The error says what the host answered.
func (h *Host) Post(ctx context.Context, r Report) error {
	req, err := h.request(ctx, r)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("reporting commit %s to %s: %w", r.Commit, req.URL.Host, err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12)) // only for the message
	switch {
	case resp.StatusCode < 300:
		return nil
	case h.provider == v1alpha1.GitLab && resp.StatusCode == http.StatusBadRequest && bytes.Contains(answer, []byte("Cannot transition status")):
		return nil // GitLab's words for a status that says this already
	}
	return &Refused{Code: resp.StatusCode, message: fmt.Sprintf("reporting commit %s: %s %s answered %s: %s; check the token's rights and spec.commitStatus",
		r.Commit, req.Method, req.URL.Redacted(), resp.Status, said(answer))}
}

// said is what a host says of an error, in the one form that all three have. Nothing else of an answer is shown: the URL is the Application's to choose, and
// what stands behind it may not be its to read.
func said(answer []byte) string {
	var body struct {
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(answer, &body) != nil || len(body.Message) == 0 {
		return "no message"
	}
	return cut(firstLines(string(body.Message)), 200)
}

// Refused is an answer other than success.
type Refused struct {
	Code    int
	message string
}

func (e *Refused) Error() string { return e.message }

// Bounds that hosts put on a description: GitHub's API documentation says 140 characters, GitLab's 255; Gitea has none.
var longest = map[v1alpha1.CommitStatusProvider]int{v1alpha1.GitHub: 140, v1alpha1.GitLab: 255, v1alpha1.Gitea: 255}

// request is the one that each host documents for this.
func (h *Host) request(ctx context.Context, r Report) (*http.Request, error) {
	description := cut(r.Description, longest[h.provider])
	state := string(r.State)
	where := h.api + "/repos/" + h.repository + "/statuses/" + r.Commit
	body := map[string]string{"state": state, "description": description, "context": h.name}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"gitopsd"}}
	switch h.provider {
	case v1alpha1.GitHub: // https://docs.github.com/rest/commits/statuses
		header.Set("Authorization", "Bearer "+h.token)
		header.Set("Accept", "application/vnd.github+json")
		header.Set("X-GitHub-Api-Version", "2022-11-28")
	case v1alpha1.GitLab: // https://docs.gitlab.com/api/commits, "Set commit pipeline status"
		if r.State == Failure {
			state = "failed"
		}
		where = h.api + "/api/v4/projects/" + url.PathEscape(h.repository) + "/statuses/" + r.Commit
		body = map[string]string{"state": state, "description": description, "name": h.name}
		header.Set("PRIVATE-TOKEN", h.token)
	case v1alpha1.Gitea: // the API documentation that every Gitea and Forgejo serves, "repoCreateStatus"
		where = h.api + "/api/v1/repos/" + h.repository + "/statuses/" + r.Commit
		header.Set("Authorization", "token "+h.token)
	default:
		return nil, fmt.Errorf("spec.commitStatus.provider: there is no provider %q", h.provider)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("spec.commitStatus.url: %w", err)
	}
	req.Header = header
	return req, nil
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
