package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	requestx509 "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"

	"k8s.io/apiserver/pkg/apis/apiserver"
)

// The users and groups that are not made by anybody.
const (
	GroupBootstrappers = "system:bootstrappers"
	GroupNodes         = "system:nodes"
	UserBootstrap      = "system:bootstrap:"
	UserNode           = "system:node:"
	SystemNamespace    = "kube-system"
)

// SecretGetter reads one Secret of the system namespace; it answers NotFound as the API does.
type SecretGetter func(ctx context.Context, name string) (*corev1.Secret, error)

// Authenticators is what requests may authenticate by.
type Authenticators struct {
	// ClientCA verifies client certificates: the common name is the user, the organizations are the groups.
	ClientCA *x509.CertPool
	// InProcess is the token of this process's own components, who are User.
	InProcess string
	User      user.Info
	// Secrets finds join tokens.
	Secrets SecretGetter
	// Tokens verifies ServiceAccount tokens.
	Tokens *Tokens
	// Foreign judges the tokens that are not this cluster's; nil: there are none.
	Foreign authenticator.Token
	// Open are the requests that need no credential; nil: those of OpenPaths.
	Open authenticator.Request
}

// OpenPaths are answered to everybody who may reach the server.
var OpenPaths = []apiserver.AnonymousAuthCondition{{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"}}

// Request builds the authenticator. A request with no credential at all is the anonymous user; one with a wrong credential is refused.
func (a Authenticators) Request() authenticator.Request {
	opts := requestx509.DefaultVerifyOptions()
	opts.Roots = a.ClientCA
	certs := &cachedCertificates{verify: requestx509.New(opts, requestx509.CommonNameUserConversion)}
	tokens := authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		if a.InProcess != "" && subtle.ConstantTimeCompare([]byte(token), []byte(a.InProcess)) == 1 {
			return &authenticator.Response{User: a.User}, true, nil
		}
		if m := bootstrapToken.FindStringSubmatch(token); m != nil {
			return a.bootstrap(ctx, m[1], m[2])
		}
		// One of ours that is no longer good is shown to nobody else.
		response, ok, err := a.Tokens.AuthenticateToken(ctx, token)
		if ok || err != nil || a.Foreign == nil {
			return response, ok, err
		}
		return a.Foreign.AuthenticateToken(ctx, token)
	})
	known := group.NewAuthenticatedGroupAdder(union.NewFailOnError(certs, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens)))
	open := a.Open
	if open == nil {
		open = anonymous.NewAuthenticator(OpenPaths)
	}
	return union.NewFailOnError(known, open)
}

// bootstrapToken is the form of a join token's secret part (the format of Kubernetes' bootstrap tokens).
var bootstrapToken = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)

func (a Authenticators) bootstrap(ctx context.Context, id, secret string) (*authenticator.Response, bool, error) {
	s, err := a.Secrets(ctx, "bootstrap-token-"+id)
	if apierrors.IsNotFound(err) {
		return nil, false, fmt.Errorf("there is no join token %s: it expired and was removed, or belongs to another cluster; make a new one with `gitopsd token create`", id)
	}
	if err != nil {
		return nil, false, err
	}
	if s.Type != corev1.SecretTypeBootstrapToken || string(s.Data["usage-bootstrap-authentication"]) != "true" || string(s.Data["token-id"]) != id ||
		subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secret)) != 1 {
		return nil, false, fmt.Errorf("join token %s is wrong; make a new one with `gitopsd token create`", id)
	}
	if text := string(s.Data["expiration"]); text != "" {
		end, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, false, fmt.Errorf("join token %s has an unreadable expiration %q", id, text)
		}
		if time.Now().After(end) {
			return nil, false, fmt.Errorf("join token %s expired at %s; make a new one with `gitopsd token create`", id, text)
		}
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: UserBootstrap + id, Groups: []string{GroupBootstrappers}}}, true, nil
}

const (
	// A verified certificate is believed for this long without looking again: verification was a tenth of the API server's processor time.
	certificateCache = time.Minute
	certificateLimit = 4096
)

// cachedCertificates remembers which client certificates were verified. It keeps successes only.
type cachedCertificates struct {
	verify authenticator.Request
	mu     sync.Mutex
	known  map[[sha256.Size]byte]verified
}

type verified struct {
	response *authenticator.Response
	until    time.Time
}

func (c *cachedCertificates) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	leaf := req.TLS.PeerCertificates[0]
	key, now := sha256.Sum256(leaf.Raw), time.Now()
	c.mu.Lock()
	v, ok := c.known[key]
	c.mu.Unlock()
	if ok && now.Before(v.until) {
		return v.response, true, nil
	}
	response, ok, err := c.verify.AuthenticateRequest(req)
	if !ok || err != nil {
		return response, ok, err
	}
	until := now.Add(certificateCache)
	if leaf.NotAfter.Before(until) {
		until = leaf.NotAfter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= certificateLimit {
		c.known = map[[sha256.Size]byte]verified{}
	}
	c.known[key] = verified{response, until}
	return response, true, nil
}
