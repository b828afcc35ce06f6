package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// host is one host's way of posting.
type host struct {
	// proof says where the request carries proof of the secret, for people; proven checks it in a time that does not depend on what is wrong.
	proof  string
	proven func(h http.Header, secret, body []byte) bool
	// parse reads the pushes that a request tells of; none for an event that is no push.
	parse func(h http.Header, body []byte) ([]Push, error)
}

// hosts are the forms that are understood, by the last element of the path.
var hosts = map[string]host{
	"github": {
		proof: "X-Hub-Signature-256 must be sha256= and the HMAC-SHA256 of the body", proven: signed("X-Hub-Signature-256"), parse: github,
	},
	"gitea": {
		proof: "X-Gitea-Signature (or X-Forgejo-Signature) must be the HMAC-SHA256 of the body", proven: signed("X-Forgejo-Signature", "X-Gitea-Signature"), parse: gitea,
	},
	"gitlab": {
		proof: "X-Gitlab-Token must be the secret itself", proven: gitlabToken, parse: gitlab,
	},
	"bitbucket": {
		proof: "X-Hub-Signature must be sha256= and the HMAC-SHA256 of the body", proven: signed("X-Hub-Signature"), parse: bitbucket,
	},
	"generic": {
		proof: "X-Gitopsd-Signature must be sha256= and the HMAC-SHA256 of the body", proven: signed("X-Gitopsd-Signature"), parse: generic,
	},
}

func init() { hosts["forgejo"] = hosts["gitea"] }

// signed looks for the body's HMAC in the first of some headers that is there, with or without the name of the algorithm before it.
func signed(headers ...string) func(http.Header, []byte, []byte) bool {
	return func(h http.Header, secret, body []byte) bool {
		for _, name := range headers {
			if s := h.Get(name); s != "" {
				return Verify(secret, body, "sha256="+strings.TrimPrefix(s, "sha256="))
			}
		}
		return false
	}
}

// gitlabToken compares hashes, so that not even the secret's length can be measured.
func gitlabToken(h http.Header, secret, _ []byte) bool {
	want, got := sha256.Sum256(secret), sha256.Sum256([]byte(h.Get("X-Gitlab-Token")))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

var errNotPush = errors.New("the body is not the JSON of a push event")

// one makes the list of one push, which needs a repository.
func one(p Push, urls ...string) ([]Push, error) {
	for _, u := range urls {
		if u != "" && !slices.Contains(p.Repos, u) {
			p.Repos = append(p.Repos, u)
		}
	}
	if len(p.Repos) == 0 {
		return nil, errors.New("the push event names no repository")
	}
	return []Push{p}, nil
}

// github reads GitHub's push event.
// https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
func github(h http.Header, body []byte) ([]Push, error) {
	switch event := h.Get("X-GitHub-Event"); event {
	case "push":
	case "":
		return nil, errors.New("the header X-GitHub-Event is missing")
	default:
		return nil, nil // ping, and whatever else somebody subscribed to
	}
	return githubLike(h, body)
}

// gitea reads the push event of Gitea, Forgejo and Gogs, which has GitHub's form.
// https://docs.gitea.com/usage/repository/webhooks
func gitea(h http.Header, body []byte) ([]Push, error) {
	event := h.Get("X-Forgejo-Event")
	for _, name := range []string{"X-Gitea-Event", "X-Gogs-Event"} {
		if event == "" {
			event = h.Get(name)
		}
	}
	switch event {
	case "push":
	case "":
		return nil, errors.New("the header X-Gitea-Event or X-Forgejo-Event is missing")
	default:
		return nil, nil
	}
	return githubLike(h, body)
}

func githubLike(h http.Header, body []byte) ([]Push, error) {
	if strings.HasPrefix(h.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, errors.New("set the webhook's content type to application/json")
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
		return nil, errNotPush
	}
	r := p.Repository
	return one(Push{Ref: p.Ref, Commit: p.After}, r.CloneURL, r.SSHURL, r.GitURL, r.HTMLURL)
}

// gitlab reads GitLab's push and tag push events, and those of system hooks.
// https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events
func gitlab(h http.Header, body []byte) ([]Push, error) {
	if h.Get("X-Gitlab-Event") == "" {
		return nil, errors.New("the header X-Gitlab-Event is missing")
	}
	var p struct {
		Kind    string `json:"object_kind"`
		Event   string `json:"event_name"`
		Ref     string `json:"ref"`
		After   string `json:"after"`
		Project struct {
			HTTP string `json:"git_http_url"`
			SSH  string `json:"git_ssh_url"`
			Web  string `json:"web_url"`
		} `json:"project"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, errNotPush
	}
	if kind := p.Kind + p.Event; !strings.HasPrefix(kind, "push") && !strings.HasPrefix(kind, "tag_push") {
		return nil, nil
	}
	return one(Push{Ref: p.Ref, Commit: p.After}, p.Project.HTTP, p.Project.SSH, p.Project.Web)
}

// bitbucket reads the push events of Bitbucket Cloud and of Bitbucket Server (Data Center), each of which may tell of several refs.
// https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
// https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html#Eventpayload-Push
func bitbucket(h http.Header, body []byte) ([]Push, error) {
	switch event := h.Get("X-Event-Key"); event {
	case "repo:push", "repo:refs_changed":
	case "":
		return nil, errors.New("the header X-Event-Key is missing")
	default:
		return nil, nil
	}
	type target struct {
		Type   string `json:"type"`
		Name   string `json:"name"`
		Target struct {
			Hash string `json:"hash"`
		} `json:"target"`
	}
	var p struct {
		Push struct {
			Changes []struct {
				New *target `json:"new"`
				Old *target `json:"old"`
			} `json:"changes"`
		} `json:"push"`
		Changes []struct {
			Ref struct {
				ID string `json:"id"`
			} `json:"ref"`
			ToHash string `json:"toHash"`
		} `json:"changes"`
		Repository struct {
			Links struct {
				HTML  struct{ Href string }   `json:"html"`
				Clone []struct{ Href string } `json:"clone"`
			} `json:"links"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, errNotPush
	}
	urls := []string{p.Repository.Links.HTML.Href}
	for _, c := range p.Repository.Links.Clone {
		urls = append(urls, c.Href)
	}
	var pushes []Push
	add := func(ref, commit string) error {
		more, err := one(Push{Ref: ref, Commit: commit}, urls...)
		pushes = append(pushes, more...)
		return err
	}
	for _, c := range p.Push.Changes {
		t := c.New
		if t == nil {
			t = c.Old // the ref was deleted
		}
		if t == nil {
			continue
		}
		prefix := "refs/heads/"
		if t.Type == "tag" {
			prefix = "refs/tags/"
		}
		if err := add(prefix+t.Name, t.Target.Hash); err != nil {
			return nil, err
		}
	}
	for _, c := range p.Changes {
		if err := add(c.Ref.ID, c.ToHash); err != nil {
			return nil, err
		}
	}
	if len(pushes) == 0 {
		return nil, errors.New("the push event names no ref")
	}
	return pushes, nil
}

// generic reads gitopsd's own form, {"repo": URL, "ref": "refs/heads/main", "commit": hash}; ref may be a branch's short name, and ref
// and commit may be left out.
func generic(_ http.Header, body []byte) ([]Push, error) {
	var p struct {
		Repo   string `json:"repo"`
		Ref    string `json:"ref"`
		Commit string `json:"commit"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, errors.New(`the body must be JSON such as {"repo":"https://git.example.com/shop.git","ref":"refs/heads/main"}`)
	}
	if p.Repo == "" {
		return nil, errors.New(`"repo" is missing; it must be the repository's URL`)
	}
	if p.Ref != "" && !strings.HasPrefix(p.Ref, "refs/") {
		p.Ref = "refs/heads/" + p.Ref
	}
	return one(Push{Ref: p.Ref, Commit: p.Commit}, p.Repo)
}
