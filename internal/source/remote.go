package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// remote is where commits come from.
type remote interface {
	// list asks for the refs.
	list(ctx context.Context) (listing, error)
	// fetch brings what is wanted into the store, whole, and records it there.
	fetch(ctx context.Context, s *store, w wanted) error
	// close ends the conversation that list began.
	close()
}

// conversation is one conversation with a Git server: the listing and the fetch share it, so that a push costs two requests and no more.
type conversation struct {
	repo      string
	transport transport.Transport
	auth      transport.AuthMethod
	ep        *transport.Endpoint

	session transport.UploadPackSession
	adv     *packp.AdvRefs
}

// reach is how far back from the wanted commit a fetch looks for one that is here already. A server leaves out what that one has only if it comes upon it on the way: with a
// depth of 1 it would send the whole tree each time, since it makes packs that are readable by themselves. The commits in between cost little.
const reach = 16

func (c *conversation) list(ctx context.Context) (listing, error) {
	ep := *c.ep // a redirect changes the session's endpoint; the next conversation asks the URL that the Application names
	s, err := c.transport.NewUploadPackSession(&ep, c.auth)
	if err != nil {
		return listing{}, explain(c.repo, err)
	}
	c.session = s
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	adv, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		return listing{}, explain(c.repo, err)
	}
	c.adv = adv
	l := listing{refs: adv.References, peeled: adv.Peeled}
	if adv.Head != nil {
		l.head = *adv.Head
	}
	if len(l.refs) == 0 {
		return listing{}, explain(c.repo, transport.ErrEmptyRemoteRepository)
	}
	return l, nil
}

func (c *conversation) close() {
	if c.session != nil {
		_ = c.session.Close() // nothing is left to be said, so nothing is lost when the other end is gone
		c.session, c.adv = nil, nil
	}
}

func (c *conversation) fetch(ctx context.Context, s *store, w wanted) error {
	caps := c.adv.Capabilities
	whole := !caps.Supports(capability.Shallow) || w.history
	wants := []plumbing.Hash{w.object}
	if w.unlisted && !caps.Supports(capability.Capability("allow-any-sha1-in-want")) && !caps.Supports(capability.Capability("allow-reachable-sha1-in-want")) {
		// The server sends only what a ref points to, so the commit has to come with the history of all of them.
		whole, wants = true, tips(c.adv)
	}
	req := packp.NewUploadPackRequestFromCapabilities(caps)
	req.Capabilities.Delete(capability.ThinPack) // each pack is to be readable by itself
	if caps.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	req.Wants = wants
	if !whole {
		req.Depth = packp.DepthCommits(1)
		here := s.commits()
		if len(here) > 0 {
			req.Depth = packp.DepthCommits(reach)
		}
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
		for _, k := range here {
			req.Haves = append(req.Haves, plumbing.NewHash(k.Hash))
			if k.Shallow {
				req.Shallows = append(req.Shallows, plumbing.NewHash(k.Hash))
			}
		}
	}
	if err := c.receive(ctx, s, req); err != nil {
		return explain(c.repo, err)
	}
	if _, err := s.raw(plumbing.CommitObject, w.commit); err != nil {
		if w.unlisted {
			return failf(RefNotFound, "%s has no commit %s on any of its branches and tags", c.repo, w.commit)
		}
		return fmt.Errorf("commit %s is not in what the server sent: %w", w.commit, err)
	}
	return s.add(storedCommit{Hash: w.commit.String(), Shallow: !whole})
}

func (c *conversation) receive(ctx context.Context, s *store, req *packp.UploadPackRequest) error {
	res, err := c.session.UploadPack(ctx, req)
	if errors.Is(err, transport.ErrEmptyUploadPackRequest) {
		return nil // everything wanted was here already
	}
	if err != nil {
		return err
	}
	defer res.Close()
	var pack io.Reader = res
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	err = packfile.WritePackfileToObjectStorage(s, pack)
	if errors.Is(err, packfile.ErrEmptyPackfile) {
		return nil
	}
	if err != nil && isDiskError(err) {
		return s.unwritable(err)
	}
	return err
}

// tips are the objects that branches and tags point to, each once.
func tips(adv *packp.AdvRefs) []plumbing.Hash {
	seen := map[plumbing.Hash]bool{}
	var out []plumbing.Hash
	for name, h := range adv.References {
		if (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) && !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out
}

// explain turns what a transport says into what the reader can act on. repo has no credentials in it, and no other text of the server's than
// ssh's first line of complaint is quoted: error pages are long and meant for browsers.
func explain(repo string, err error) error {
	var already *Error
	var dns *net.DNSError
	var wrapped *plumbing.UnexpectedError
	if errors.As(err, &wrapped) {
		err = wrapped.Err // it hides its cause
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &already) && (already.Reason == RateLimited || already.Reason == ProxyRefused):
		return &Error{Reason: already.Reason, Message: repo + ": " + already.Message, RetryAfter: already.RetryAfter}
	case already != nil:
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return failf(Empty, "%s has no commit yet; push one", repo)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return failf(NotFound, "%s: the server knows no such repository, or does not show it without credentials; check repoURL and secretRef", repo)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return failf(Unauthorized, "%s: the server wants credentials, or refused those given; set spec.source.secretRef to a Secret with username and password, or bearerToken", repo)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return failf(Unauthorized, "%s: the credentials may not read this repository; give that account access to it", repo)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return failf(Unauthorized, "%s: the server refused the ssh key; add its public half to the repository or to the account", repo)
	case strings.Contains(err.Error(), "knownhosts: key mismatch"):
		return failf(Unauthorized, "%s: the host's key is not the one in known_hosts; somebody may be posing as the host, or it has a new key: compare it by another way, then update the Secret", repo)
	case strings.Contains(err.Error(), "knownhosts: key is unknown"):
		return failf(Unauthorized, "%s: the host is not in the Secret's known_hosts; add the output of ssh-keyscan, after comparing it by another way", repo)
	case strings.Contains(err.Error(), "tls: certificate required"):
		return failf(Unauthorized, "%s: the server wants a client certificate; put it into the Secret as tls.crt, and its key as tls.key", repo)
	case strings.Contains(err.Error(), "x509: "):
		return wrapf(Unreachable, cause(err), "%s: the server's certificate is not trusted; put its CA into the Secret's caFile", repo)
	case errors.As(err, &dns):
		return failf(Unreachable, "%s: the host name %q cannot be resolved; check repoURL and the DNS of this machine", repo, dns.Name)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return failf(Unreachable, "%s: the server did not answer in time", repo)
	}
	return wrapf(Unreachable, cause(err), "%s cannot be read", repo)
}

// cause is the innermost error: the outer ones repeat the URL in several forms.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if u, ok := err.(*plumbing.UnexpectedError); ok {
			next = u.Err
		}
		if _, ok := err.(*net.OpError); ok || next == nil {
			return errors.New(Redact(err.Error()))
		}
		err = next
	}
}
