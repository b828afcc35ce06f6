package proxy

import (
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// judge does what the policy says before a request is passed on. done says that it has been answered; release, where there is one, is to be called
// when it is over.
func (x *exchange) judge() (release func(), done bool) {
	p := x.policy
	switch {
	case p.ToHTTPS && x.scheme() == "http" && !acme(x.r.URL.Path):
		x.redirect(x.https(), http.StatusPermanentRedirect)
		return nil, true
	case p.Problem != "":
		x.fail(http.StatusServiceUnavailable, "the route cannot be served; its Ingress has Events that say why")
		return nil, true
	case len(p.Deny) > 0 && within(x.client, p.Deny), len(p.Allow) > 0 && !within(x.client, p.Allow):
		x.fail(http.StatusForbidden, "this address may not ask")
		return nil, true
	}
	if p.PerSecond > 0 || p.PerMinute > 0 || p.Connections > 0 {
		var ok bool
		if release, ok = x.p.limits.admit(x.route.Owner, x.client, p); !ok {
			x.w.Header().Set("Retry-After", "1")
			x.fail(http.StatusTooManyRequests, "too many requests")
			return release, true
		}
	}
	if p.CORS != nil && x.cors(p.CORS) {
		return release, true
	}
	if p.Auth != nil {
		switch status := x.p.auth.admit(x.r, p.Auth); status {
		case 0:
		case http.StatusUnauthorized:
			x.w.Header().Set("Www-Authenticate", `Basic realm="`+p.Auth.Realm+`", charset="UTF-8"`)
			x.fail(status, "name and password are needed")
			return release, true
		default:
			x.w.Header().Set("Retry-After", "1")
			x.fail(status, "too many passwords are being tried")
			return release, true
		}
	}
	switch {
	case p.Redirect != "":
		x.redirect(p.Redirect, p.Code)
	case p.AppRoot != "" && x.r.URL.Path == "/":
		x.redirect(p.AppRoot, http.StatusFound)
	case p.BodyLimit > 0 && x.r.ContentLength > p.BodyLimit:
		x.w.Header().Set("Connection", "close") // rather than read what nobody wants
		x.fail(http.StatusRequestEntityTooLarge, "the body is too large")
	default:
		return release, false
	}
	return release, true
}

// acme says whether a certificate authority looks whether the host is whose it says. It asks without TLS.
func acme(path string) bool { return strings.HasPrefix(path, routes.ChallengePath) }

func (x *exchange) redirect(to string, code int) {
	x.hsts()
	x.w.Header().Set("Location", to)
	x.w.Header().Set("Content-Length", "0")
	x.begin(code)
}

// scheme is that by which the client came.
func (x *exchange) scheme() string {
	if x.r.TLS != nil || x.trusted && x.r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https"
	}
	return "http"
}

// https is the same address by HTTPS.
func (x *exchange) https() string {
	host := routes.Hostname(x.r.Host)
	if port := x.p.cfg.HTTPSPort; port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host + x.r.URL.RequestURI()
}

// chooseCanary has a canary take the request if it is one of its own.
func (x *exchange) chooseCanary() {
	for i := range x.route.Canaries {
		if c := &x.route.Canaries[i]; chosen(c, x.r) {
			x.backend, x.policy = c.Backend, c.Policy
			return
		}
	}
}

// chosen follows ingress-nginx: the header first, then the cookie, then the weight.
func chosen(c *routes.Canary, r *http.Request) bool {
	if c.Header != "" {
		if v := r.Header.Get(c.Header); v != "" {
			switch {
			case c.Value != "":
				if v == c.Value {
					return true
				}
			case c.Expr != nil:
				if c.Expr.MatchString(v) {
					return true
				}
			case v == "always":
				return true
			case v == "never":
				return false
			}
		}
	}
	if c.Cookie != "" {
		if k, err := r.Cookie(c.Cookie); err == nil {
			switch k.Value {
			case "always":
				return true
			case "never":
				return false
			}
		}
	}
	return c.Weight > 0 && rand.IntN(c.Total) < c.Weight
}

// named is the endpoint that a client's cookie names; nil when it is there no more.
func (p *pool) named(r *http.Request, a *routes.Affinity) *endpoint {
	k, err := r.Cookie(a.Cookie)
	if err != nil {
		return nil
	}
	for _, e := range p.endpoints {
		if e.cookie == k.Value {
			return e
		}
	}
	return nil
}

// bind has the client come back to the endpoint.
func (x *exchange) bind(e *endpoint, a *routes.Affinity) {
	c := http.Cookie{Name: a.Cookie, Value: e.cookie, Path: a.Path, Domain: a.Domain, MaxAge: a.MaxAge, HttpOnly: true, Secure: a.Secure || x.r.TLS != nil && a.SameSite == "None"}
	switch a.SameSite {
	case "None":
		c.SameSite = http.SameSiteNoneMode
	case "Lax":
		c.SameSite = http.SameSiteLaxMode
	case "Strict":
		c.SameSite = http.SameSiteStrictMode
	}
	x.w.Header().Del("Set-Cookie") // of an endpoint that could not be reached
	http.SetCookie(x.w, &c)
}
