package routes

import (
	"crypto/tls"
	"net/netip"
	"regexp"
	"time"
)

// PathKind is how a route's path is compared with a request's.
type PathKind int

// The kinds, in the order in which they are preferred among paths of the same length.
const (
	Exact   PathKind = iota // the same, byte for byte
	Prefix                  // the same elements between slashes, and any that follow
	Pattern                 // a regular expression from the path's beginning, whatever the case
	Default                 // what no other path of the host takes
)

func (k PathKind) String() string { return [...]string{"Exact", "Prefix", "Pattern", "Default"}[k] }

// Route is one host and path, and what is done with its requests.
type Route struct {
	// Owner is the object that the route comes from, as "namespace/name".
	Owner string
	// Host is a name in lower case, "*.example.org" for any name with one label more, or "" for all.
	Host string
	Kind PathKind
	Path string
	// Expr is Path compiled, for Pattern.
	Expr *regexp.Regexp

	Backend *Backend
	Policy  *Policy
	// Canaries take their part of the requests before Backend does.
	Canaries []Canary
}

// Backend is a port of a Service.
type Backend struct {
	// Key names it for logs and metrics and over changes of the table: "namespace/service:port".
	Key string
	// Problem says why it can have no endpoints; empty when it can.
	Problem string
	// Endpoints take requests, sorted and each once.
	Endpoints []netip.AddrPort
}

// Protocol is what a backend speaks.
type Protocol int

// The protocols of backends.
const (
	HTTP  Protocol = iota // HTTP/1.1
	HTTPS                 // HTTP/2 or HTTP/1.1 over TLS, whatever the certificate
	GRPC                  // HTTP/2 without TLS
	GRPCS                 // HTTP/2 over TLS, whatever the certificate
)

func (p Protocol) String() string { return [...]string{"HTTP", "HTTPS", "GRPC", "GRPCS"}[p] }

// Policy is what is done with a route's requests beside passing them on. The zero value does nothing.
type Policy struct {
	// Problem says why no request can be passed on, such as a way of protecting it that is not understood.
	Problem  string
	Protocol Protocol
	// Host is what the backend is told that it is called; empty: what the client said.
	Host string
	// ToHTTPS sends plain requests to the same address by HTTPS.
	ToHTTPS bool
	// Redirect sends every request elsewhere, with Code.
	Redirect string
	Code     int
	// AppRoot is where requests of / are sent.
	AppRoot string
	// Rewrite is the path that the backend is asked for, with $1 for what the route's Pattern took; empty: the client's.
	Rewrite string
	// BodyLimit is in bytes; 0 is none.
	BodyLimit int64
	// Connect bounds connecting to an endpoint, Read and Send the silence between two reads from and writes to it.
	Connect, Read, Send time.Duration
	// Allow are those who may ask, if there are any; Deny those who may not.
	Allow, Deny []netip.Prefix
	// PerSecond and PerMinute are requests of one client address, of which Burst times as many may come at once; Connections are its requests under way.
	PerSecond, PerMinute, Burst, Connections int
	CORS                                     *CORS
	Auth                                     *Auth
	Affinity                                 *Affinity
}

// CORS is what browsers are told about requests of pages from elsewhere.
type CORS struct {
	Origins          []string // "*", "https://example.org", "https://*.example.org"
	Methods, Headers string
	Expose           string
	Credentials      bool
	MaxAge           int // seconds
}

// Auth asks for a name and password.
type Auth struct {
	Realm string
	// Users have a hash each, as htpasswd writes it.
	Users map[string]string
}

// Affinity keeps a client with the endpoint that it had first.
type Affinity struct {
	Cookie, Path, Domain, SameSite string
	Secure                         bool
	MaxAge                         int // seconds; 0: as long as the browser runs
}

// Canary is another backend for some of a route's requests.
type Canary struct {
	Backend *Backend
	Policy  *Policy
	// Header decides alone where the request has it: always and never, or Value, or what Expr matches.
	Header, Value string
	Expr          *regexp.Regexp
	// Cookie decides likewise, by always and never.
	Cookie string
	// Weight of Total requests are the canary's.
	Weight, Total int
}

// Certificate is what a host is served with.
type Certificate struct {
	// Host is as a Route's, and never "".
	Host string
	// Secret is where it comes from, as "namespace/name".
	Secret string
	// TLS is nil where the Secret has none that can be used.
	TLS *tls.Certificate
}
