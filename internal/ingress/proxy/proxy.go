package proxy

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// Config is how requests are passed on, whatever their route.
type Config struct {
	// HTTPSPort is where clients are sent that have to come by HTTPS.
	HTTPSPort int
	// HSTS is how long browsers are told to come by HTTPS only; zero: they are told nothing.
	HSTS time.Duration
	// Trusted are proxies whose word about the client's address is taken.
	Trusted []netip.Prefix
	// HeaderTimeout is how long a client may take for a request's header; zero: as long as is good.
	HeaderTimeout time.Duration
	// WriteTimeout is how long a client may take to read something; zero: as long as is good.
	WriteTimeout time.Duration
	// ConnectionsPerClient are at most those that one client may have at a listener; zero: as many as is good. Trusted proxies may have all.
	ConnectionsPerClient int
	// Log takes a line per request; nil: none.
	Log *AccessLog
}

// Proxy passes requests on.
type Proxy struct {
	cfg    Config
	state  atomic.Pointer[state]
	limits limiter
	own    ownCertificate
	auth   *authCache
	h2     *h2
	count  counters

	mu        sync.Mutex
	endpoints map[netip.AddrPort]*endpoint
}

// state is a table with what the Proxy keeps for it.
type state struct {
	table *routes.Table
	pools map[string]*pool // by Backend.Key
	stats map[*routes.Route]*stats
}

// New makes a Proxy without routes.
func New(cfg Config) *Proxy {
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, writeTimeout)
	p := &Proxy{cfg: cfg, endpoints: map[netip.AddrPort]*endpoint{}, h2: newH2(), auth: newAuthCache()}
	p.limits.init()
	p.count.init()
	p.Set(routes.NewTable(nil, nil))
	return p
}

// Set has all requests from now on follow another table.
func (p *Proxy) Set(t *routes.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &state{table: t, pools: map[string]*pool{}, stats: map[*routes.Route]*stats{}}
	used := map[netip.AddrPort]bool{}
	for _, b := range t.Backends() {
		pl := &pool{}
		for _, address := range b.Endpoints {
			used[address] = true
			if p.endpoints[address] == nil {
				p.endpoints[address] = newEndpoint(address)
			}
			pl.endpoints = append(pl.endpoints, p.endpoints[address])
		}
		s.pools[b.Key] = pl
	}
	for _, r := range t.Routes() {
		s.stats[r] = p.count.of(r)
	}
	p.state.Store(s)
	for address, e := range p.endpoints {
		if !used[address] {
			delete(p.endpoints, address)
			e.leave()
		}
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	p.count.active.Add(1)
	defer p.count.active.Add(-1)
	x := &exchange{p: p, s: p.state.Load(), w: w, r: r, began: began}
	defer x.end()
	x.waits()
	if !x.refused() {
		x.serve()
	}
}

// unread counts and logs a request that was refused before it was one.
func (p *Proxy) unread(client net.Addr, status int) {
	x := &exchange{p: p, r: &http.Request{RemoteAddr: client.String()}, began: time.Now(), status: status}
	x.client, _ = clientOf(x.r, nil)
	x.end()
}

// exchange is one request and its answer.
type exchange struct {
	p     *Proxy
	s     *state
	w     http.ResponseWriter
	r     *http.Request
	began time.Time

	route    *routes.Route
	policy   *routes.Policy
	backend  *routes.Backend
	client   netip.Addr
	trusted  bool // what is before us says who the client is
	endpoint *endpoint
	bodiless body // of a request that has none
	status   int
	sent     int64
	extended time.Time // when the client last had its time for reading given anew; zero: nothing of this request says so
	waiting  bool      // over HTTP/2: there is no such time, as it is not the client that is waited for
}

// serve finds the route, and does what it says.
func (x *exchange) serve() {
	x.client, x.trusted = clientOf(x.r, x.p.cfg.Trusted)
	if answer := x.s.table.Challenge(x.r.Host, x.r.URL.Path); answer != "" {
		x.say(http.StatusOK, answer)
		return
	}
	if x.route = x.s.table.Find(x.r.Host, x.r.URL.Path); x.route == nil {
		x.fail(http.StatusNotFound, "there is no route for this host and path")
		return
	}
	if !x.s.table.Unambiguous(x.route, x.r.Host, x.r.URL) {
		x.fail(http.StatusBadRequest, "the path can be read in more than one way")
		return
	}
	x.policy, x.backend = x.route.Policy, x.route.Backend
	if len(x.route.Canaries) > 0 {
		x.chooseCanary()
	}
	release, done := x.judge()
	if release != nil {
		defer release()
	}
	if !done {
		x.forward()
	}
}

// fail answers in place of a backend.
func (x *exchange) fail(status int, text string) { x.say(status, text+"\n") }

// say answers with a text of our own.
func (x *exchange) say(status int, text string) {
	x.hsts()
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	x.begin(status)
	if x.r.Method != http.MethodHead {
		n, _ := x.w.Write([]byte(text)) // a client that is gone need not be told
		x.sent += int64(n)
	}
}

// begin sends the answer's status.
func (x *exchange) begin(status int) {
	x.status = status
	x.writes()
	x.w.WriteHeader(status)
}

// writes is called before something is written: a client that does not read is not waited for forever. Its time is given anew now and then only: that
// is a timer each time.
func (x *exchange) writes() {
	now := time.Now()
	if last := cmp.Or(x.extended, x.began); !x.waiting && now.Sub(last) <= time.Second {
		return // the server's own time begins with the request
	}
	x.extended, x.waiting = now, false
	_ = http.NewResponseController(x.w).SetWriteDeadline(now.Add(x.p.cfg.WriteTimeout))
}

// waits is called before an endpoint is waited for. Over HTTP/1.1 the client's time shows only when something is written; over HTTP/2 its end is the
// stream's, whatever that waits for.
func (x *exchange) waits() {
	if x.r.ProtoMajor == 2 && !x.waiting {
		x.waiting = true
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
	}
}

func (x *exchange) hsts() {
	if x.r.TLS != nil && x.p.cfg.HSTS > 0 {
		x.w.Header().Set("Strict-Transport-Security", "max-age="+strconv.FormatInt(int64(x.p.cfg.HSTS/time.Second), 10)+"; includeSubDomains")
	}
}

// end counts and logs.
func (x *exchange) end() {
	if x.waiting {
		x.writes() // what the server still has to send
	}
	took := time.Since(x.began)
	st := x.p.count.none
	if x.route != nil {
		st = cmp.Or(x.s.stats[x.route], st)
	}
	st.observe(x.status, took, x.sent)
	if x.p.cfg.Log != nil {
		x.p.cfg.Log.write(x, took)
	}
}
