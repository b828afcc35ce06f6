package translate

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// AnnotationPrefix is that of ingress-nginx. Its annotations are read where the meaning is the same here.
const AnnotationPrefix = "nginx.ingress.kubernetes.io/"

// settings are what an Ingress' annotations say.
type settings struct {
	policy              routes.Policy
	toHTTPS, forceHTTPS bool
	regex               bool
	canary              *routes.Canary

	cors     routes.CORS
	affinity routes.Affinity
	auth     authSettings
	enable   struct{ cors, affinity, canary bool }
	// unsafe says what of that which protects the Ingress is not understood.
	unsafe string
}

type authSettings struct{ kind, secret, form, realm string }

// defaults are ingress-nginx' own.
func defaults() settings {
	return settings{
		toHTTPS: true,
		policy:  routes.Policy{BodyLimit: 1 << 20, Connect: 5 * time.Second, Read: time.Minute, Send: time.Minute, Burst: 5},
		cors: routes.CORS{
			Origins: []string{"*"}, Methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS", Credentials: true, MaxAge: 1728000,
			Headers: "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
		},
		affinity: routes.Affinity{Cookie: "INGRESSCOOKIE", Path: "/"},
		auth:     authSettings{form: "auth-file", realm: "Authentication Required"},
		canary:   &routes.Canary{Total: 100},
	}
}

// setters read one annotation each, by its name after the prefix.
var setters = map[string]func(s *settings, v string) error{
	"ssl-redirect":            func(s *settings, v string) error { return boolean(v, &s.toHTTPS) },
	"force-ssl-redirect":      func(s *settings, v string) error { return boolean(v, &s.forceHTTPS) },
	"use-regex":               func(s *settings, v string) error { return boolean(v, &s.regex) },
	"rewrite-target":          func(s *settings, v string) error { return absolute(v, &s.policy.Rewrite) },
	"app-root":                func(s *settings, v string) error { return absolute(v, &s.policy.AppRoot) },
	"permanent-redirect":      func(s *settings, v string) error { return redirect(s, v, 301) },
	"temporal-redirect":       func(s *settings, v string) error { return redirect(s, v, 302) },
	"permanent-redirect-code": func(s *settings, v string) error { return number3xx(v, &s.policy.Code) },
	"temporal-redirect-code":  func(s *settings, v string) error { return number3xx(v, &s.policy.Code) },
	"proxy-body-size":         func(s *settings, v string) error { return size(v, &s.policy.BodyLimit) },
	"proxy-connect-timeout":   func(s *settings, v string) error { return duration(v, &s.policy.Connect) },
	"proxy-read-timeout":      func(s *settings, v string) error { return duration(v, &s.policy.Read) },
	"proxy-send-timeout":      func(s *settings, v string) error { return duration(v, &s.policy.Send) },
	"backend-protocol": func(s *settings, v string) error {
		for _, p := range []routes.Protocol{routes.HTTP, routes.HTTPS, routes.GRPC, routes.GRPCS} {
			if strings.EqualFold(v, p.String()) {
				s.policy.Protocol = p
				return nil
			}
		}
		return errors.New("must be HTTP, HTTPS, GRPC or GRPCS")
	},
	"upstream-vhost": func(s *settings, v string) error {
		if !hostHeader.MatchString(v) {
			return errors.New("must be a host name, with a port or without; variables of nginx are not known here")
		}
		s.policy.Host = v
		return nil
	},
	"whitelist-source-range": func(s *settings, v string) error { return ranges(v, &s.policy.Allow) },
	"allowlist-source-range": func(s *settings, v string) error { return ranges(v, &s.policy.Allow) },
	"denylist-source-range":  func(s *settings, v string) error { return ranges(v, &s.policy.Deny) },
	"limit-rps":              func(s *settings, v string) error { return whole(v, &s.policy.PerSecond) },
	"limit-rpm":              func(s *settings, v string) error { return whole(v, &s.policy.PerMinute) },
	"limit-connections":      func(s *settings, v string) error { return whole(v, &s.policy.Connections) },
	"limit-burst-multiplier": func(s *settings, v string) error { return whole(v, &s.policy.Burst) },

	"enable-cors":            func(s *settings, v string) error { return boolean(v, &s.enable.cors) },
	"cors-allow-origin":      func(s *settings, v string) error { return origins(v, &s.cors.Origins) },
	"cors-allow-methods":     func(s *settings, v string) error { return list(v, &s.cors.Methods) },
	"cors-allow-headers":     func(s *settings, v string) error { return list(v, &s.cors.Headers) },
	"cors-expose-headers":    func(s *settings, v string) error { return list(v, &s.cors.Expose) },
	"cors-allow-credentials": func(s *settings, v string) error { return boolean(v, &s.cors.Credentials) },
	"cors-max-age":           func(s *settings, v string) error { return whole(v, &s.cors.MaxAge) },

	"auth-type":        func(s *settings, v string) error { return oneOf(v, &s.auth.kind, "basic") },
	"auth-secret":      func(s *settings, v string) error { s.auth.secret = v; return nil },
	"auth-secret-type": func(s *settings, v string) error { return oneOf(v, &s.auth.form, "auth-file", "auth-map") },
	"auth-realm":       func(s *settings, v string) error { return list(v, &s.auth.realm) },

	"affinity": func(s *settings, v string) error {
		s.enable.affinity = v == "cookie"
		return oneOf(v, new(string), "cookie")
	},
	"session-cookie-name":     func(s *settings, v string) error { return token(v, &s.affinity.Cookie) },
	"session-cookie-path":     func(s *settings, v string) error { return absolute(v, &s.affinity.Path) },
	"session-cookie-domain":   func(s *settings, v string) error { return token(v, &s.affinity.Domain) },
	"session-cookie-samesite": func(s *settings, v string) error { return oneOf(v, &s.affinity.SameSite, "None", "Lax", "Strict") },
	"session-cookie-secure":   func(s *settings, v string) error { return boolean(v, &s.affinity.Secure) },
	"session-cookie-max-age":  func(s *settings, v string) error { return whole(v, &s.affinity.MaxAge) },
	"session-cookie-expires":  func(s *settings, v string) error { return whole(v, &s.affinity.MaxAge) },

	"canary":                 func(s *settings, v string) error { return boolean(v, &s.enable.canary) },
	"canary-weight":          func(s *settings, v string) error { return whole(v, &s.canary.Weight) },
	"canary-weight-total":    func(s *settings, v string) error { return whole(v, &s.canary.Total) },
	"canary-by-header":       func(s *settings, v string) error { return token(v, &s.canary.Header) },
	"canary-by-header-value": func(s *settings, v string) error { s.canary.Value = v; return nil },
	"canary-by-header-pattern": func(s *settings, v string) (err error) {
		s.canary.Expr, err = compile(v)
		return err
	},
	"canary-by-cookie": func(s *settings, v string) error { return token(v, &s.canary.Cookie) },
}

// refused are annotations that nothing here will ever do, and why.
var refused = map[string]string{
	"server-snippet":        "it is configuration of nginx, which does not run here; whoever could write it could read every Secret that an ingress has",
	"configuration-snippet": "it is configuration of nginx, which does not run here; whoever could write it could read every Secret that an ingress has",
	"stream-snippet":        "it is configuration of nginx, which does not run here; whoever could write it could read every Secret that an ingress has",
	"auth-snippet":          "it is configuration of nginx, which does not run here; whoever could write it could read every Secret that an ingress has",
	"custom-headers":        "the headers of an answer are its program's to say, and nodes may not read the ConfigMap that it names",
}

// protects says whether an annotation keeps requests out: without understanding it none may come in.
func protects(name string) bool {
	return strings.HasPrefix(name, "auth-") || strings.HasSuffix(name, "-source-range") || name == "satisfy"
}

// read reads the Ingress' annotations, and complains of those that it cannot follow.
func (o *one) read() settings {
	s := defaults()
	var unknown []string
	for _, full := range slices.Sorted(maps.Keys(o.Annotations)) {
		name, ok := strings.CutPrefix(full, AnnotationPrefix)
		if !ok {
			continue
		}
		set, known := setters[name]
		why, never := refused[name]
		switch {
		case never:
			o.complain(ReasonAnnotation, "%s is refused: %s", full, why)
		case !known:
			unknown = append(unknown, full)
		default:
			value := o.Annotations[full]
			err := set(&s, strings.TrimSpace(value))
			if err == nil {
				continue
			}
			o.complain(ReasonAnnotation, "%s: %v, got %q", full, err, value)
		}
		if protects(name) {
			s.unsafe = full
		}
	}
	if len(unknown) > 0 {
		o.complain(ReasonAnnotation, "not known here and without effect: %s", strings.Join(unknown, ", "))
	}
	o.finish(&s)
	return s
}

// finish puts together what several annotations say.
func (o *one) finish(s *settings) {
	if s.enable.cors {
		s.policy.CORS = &s.cors
	}
	if s.enable.affinity {
		s.policy.Affinity = &s.affinity
	}
	if !s.enable.canary {
		s.canary = nil
	} else if s.canary.Total < 1 {
		s.canary.Total = 100
	}
	if s.policy.Burst < 1 {
		s.policy.Burst = 1
	}
	if s.auth.kind != "" {
		auth, err := o.users(s.auth)
		if err != nil {
			o.complain(ReasonSecret, "%v; requests are answered with 503 meanwhile", err)
			s.policy.Problem = err.Error()
		}
		s.policy.Auth = auth
	}
	if s.unsafe != "" {
		o.complain(ReasonAnnotation, "%s is to keep requests out, and is not understood: until it is, all requests of the Ingress are answered with 503", s.unsafe)
		s.policy.Problem = s.unsafe + " is not understood"
	}
}

// authSecret names the Secret with the users of an Ingress. It is of the same namespace, whatever the annotation says: otherwise who may write an Ingress
// could have others' passwords tried.
func authSecret(ing *networkingv1.Ingress) (string, error) {
	name := ing.Annotations[AnnotationPrefix+"auth-secret"]
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		if ns != ing.Namespace {
			return "", fmt.Errorf("%sauth-secret: Secret %s is of another namespace", AnnotationPrefix, name)
		}
		name = rest
	}
	return name, nil
}

// users reads the Secret of basic authentication.
func (o *one) users(a authSettings) (*routes.Auth, error) {
	short, err := authSecret(o.Ingress)
	if err != nil {
		return nil, err
	}
	if short == "" {
		return nil, fmt.Errorf("%sauth-secret names no Secret", AnnotationPrefix)
	}
	name := o.Namespace + "/" + short
	switch found := o.Secret(name); {
	case found.Unread != "":
		return nil, fmt.Errorf("Secret %s could not be read: %s", name, found.Unread)
	case found.Object == nil:
		return nil, fmt.Errorf("there is no Secret %s", name)
	default:
		out := &routes.Auth{Realm: a.realm, Users: map[string]string{}}
		if a.form == "auth-map" {
			for user, hash := range found.Object.Data {
				out.Users[user] = strings.TrimSpace(string(hash))
			}
			o.affordable(name, out.Users)
			return out, nil
		}
		text, ok := found.Object.Data["auth"]
		if !ok {
			return nil, fmt.Errorf("Secret %s has no key auth, with lines as htpasswd writes them", name)
		}
		for line := range strings.Lines(string(text)) {
			if user, hash, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(user, "#") {
				out.Users[user] = hash
			}
		}
		o.affordable(name, out.Users)
		return out, nil
	}
}

// maxCost bounds what a password's bcrypt hash may cost to compare with: some 0.3 s of a core; each step more doubles it.
const maxCost = 12

// affordable drops users whose passwords take the node too long to try, as anybody may have them tried.
func (o *one) affordable(secret string, users map[string]string) {
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if cost, err := bcrypt.Cost([]byte(users[user])); err == nil && cost > maxCost {
			delete(users, user)
			o.complain(ReasonSecret, "Secret %s: the bcrypt hash of user %q has cost %d, and %d is the most: the user is not let in; hash the password anew, such as with htpasswd -B -C 10", secret, user, cost, maxCost)
		}
	}
}

var (
	hostHeader = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	tokenForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	listForm   = regexp.MustCompile(`^[ !#-~]*$`) // what can stand in a header, without a quotation mark
	originForm = regexp.MustCompile(`^(\*|[a-z][a-z0-9+.-]*://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?)$`)
)

func boolean(v string, into *bool) (err error) {
	if *into, err = strconv.ParseBool(v); err != nil {
		return errors.New("must be true or false")
	}
	return nil
}

func whole(v string, into *int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1<<31-1 {
		return errors.New("must be a whole number, not less than 0")
	}
	*into = n
	return nil
}

func number3xx(v string, into *int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 300 || n > 308 {
		return errors.New("must be a status from 300 to 308")
	}
	*into = n
	return nil
}

func absolute(v string, into *string) error {
	if !strings.HasPrefix(v, "/") || !listForm.MatchString(v) {
		return errors.New("must be a path that starts with /")
	}
	*into = v
	return nil
}

func redirect(s *settings, v string, code int) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be a URL, http:// or https://")
	}
	s.policy.Redirect = u.String()
	if s.policy.Code == 0 {
		s.policy.Code = code
	}
	return nil
}

// size reads a size as nginx has it: bytes, or with k, m or g.
func size(v string, into *int64) error {
	digits, shift := v, 0
	if v != "" {
		if at := strings.IndexByte("kmg", v[len(v)-1]|0x20); at >= 0 {
			digits, shift = v[:len(v)-1], 10*(at+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return errors.New("must be a size such as 512k, 8m or 1g; 0 is no limit")
	}
	*into = n << shift
	return nil
}

// duration reads seconds, with or without a unit.
func duration(v string, into *time.Duration) error {
	if n, err := strconv.Atoi(v); err == nil {
		v = strconv.Itoa(n) + "s"
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return errors.New("must be a number of seconds, more than 0")
	}
	*into = d
	return nil
}

func ranges(v string, into *[]netip.Prefix) error {
	var out []netip.Prefix
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		p, err := netip.ParsePrefix(part)
		if err != nil {
			ip, err := netip.ParseAddr(part)
			if err != nil {
				return errors.New("must be addresses or ranges such as 10.0.0.0/8, with commas between")
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		out = append(out, p.Masked())
	}
	*into = out
	return nil
}

func origins(v string, into *[]string) error {
	var out []string
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		if !originForm.MatchString(part) {
			return errors.New("must be origins such as https://example.org, https://*.example.org or *, with commas between")
		}
		out = append(out, part)
	}
	*into = out
	return nil
}

func list(v string, into *string) error {
	if !listForm.MatchString(v) {
		return errors.New("has characters that cannot be in a header")
	}
	*into = v
	return nil
}

func token(v string, into *string) error {
	if !tokenForm.MatchString(v) {
		return errors.New("must be letters, digits, dots, underscores and dashes")
	}
	*into = v
	return nil
}

func oneOf(v string, into *string, values ...string) error {
	if !slices.Contains(values, v) {
		return fmt.Errorf("must be %s", strings.Join(values, " or "))
	}
	*into = v
	return nil
}
