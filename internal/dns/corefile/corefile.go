package corefile

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The ConfigMap that is read.
const (
	ConfigMapNamespace = metav1.NamespaceSystem
	ConfigMapName      = "coredns-custom"
)

// Config says which servers know which names.
type Config struct {
	// Stubs are domains with servers of their own.
	Stubs []Stub
	// Forward are the servers for all other names; none: those of each host.
	Forward []string
}

// Stub is a domain with servers of its own.
type Stub struct {
	Domain  string // with the final dot, in lower case
	Forward []string
}

// maxServers is how many servers forward takes: as many as CoreDNS does.
const maxServers = 15

// redundant are CoreDNS' plugins whose effect is had without them.
var redundant = []string{"errors", "log", "cache", "loop", "reload", "loadbalance", "ready", "health", "prometheus"}

// Parse reads a ConfigMap's data. domain is the cluster's, which nobody else can be asked about. Keys that end in neither .server nor
// .override are not for this.
func Parse(data map[string]string, domain string) (Config, error) {
	var cfg Config
	for _, key := range slices.Sorted(maps.Keys(data)) {
		p := &parser{key: key, tokens: split(data[key]), cfg: &cfg, domain: domain}
		var err error
		switch {
		case strings.HasSuffix(key, ".server"):
			err = p.servers()
		case strings.HasSuffix(key, ".override"):
			err = p.override()
		}
		if err != nil {
			return Config{}, err
		}
	}
	return cfg, nil
}

// token is a word, or the end of a line when it is empty.
type token struct {
	text string
	line int
}

// split cuts a text into words and ends of lines. What follows a # is a comment.
func split(text string) []token {
	var out []token
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		for _, w := range strings.Fields(line) {
			out = append(out, token{strings.Trim(w, `"`), n})
		}
		out = append(out, token{"", n})
	}
	return out
}

type parser struct {
	key    string
	tokens []token
	line   int
	cfg    *Config
	domain string
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.key, max(p.line, 1), fmt.Sprintf(format, args...))
}

// words reads to the end of the line, or to the brace that opens or closes a block, which it leaves.
func (p *parser) words() []string {
	var out []string
	for len(p.tokens) > 0 && p.tokens[0].text != "" && p.tokens[0].text != "{" && p.tokens[0].text != "}" {
		out = append(out, p.tokens[0].text)
		p.next()
	}
	return out
}

func (p *parser) next() token {
	t := p.tokens[0]
	p.tokens, p.line = p.tokens[1:], t.line
	return t
}

// is takes a token if it is the next.
func (p *parser) is(text string) bool {
	if len(p.tokens) > 0 && p.tokens[0].text == text {
		p.next()
		return true
	}
	return false
}

func (p *parser) blank() {
	for p.is("") {
	}
}

// servers reads blocks such as "example.org:53 { forward . 192.0.2.1 }".
func (p *parser) servers() error {
	for p.blank(); len(p.tokens) > 0; p.blank() {
		names := p.words()
		if len(names) == 0 {
			p.next()
			return p.errorf("a domain is missing before the brace")
		}
		domains := make([]string, len(names))
		for i, n := range names {
			var err error
			if domains[i], err = p.zone(n); err != nil {
				return err
			}
		}
		begin := p.line
		if !p.is("{") {
			return p.errorf("want { after %s", names[len(names)-1])
		}
		var forward []string
		for p.blank(); !p.is("}"); p.blank() {
			if len(p.tokens) == 0 {
				p.line = begin
				return p.errorf("the block of %s is not closed", names[0])
			}
			servers, err := p.directive()
			if err != nil {
				return err
			}
			forward = append(forward, servers...)
		}
		if len(forward) == 0 {
			p.line = begin
			return p.errorf("the block of %s has no forward: say which servers know it", names[0])
		}
		for _, d := range domains {
			if slices.ContainsFunc(p.cfg.Stubs, func(s Stub) bool { return s.Domain == d }) {
				p.line = begin
				return p.errorf("%s is said a second time", d)
			}
			p.cfg.Stubs = append(p.cfg.Stubs, Stub{d, forward})
		}
	}
	return nil
}

// override reads directives for all other names.
func (p *parser) override() error {
	for p.blank(); len(p.tokens) > 0; p.blank() {
		servers, err := p.directive()
		if err != nil {
			return err
		}
		if len(servers) > 0 && len(p.cfg.Forward) > 0 {
			return p.errorf("forward is said a second time")
		}
		p.cfg.Forward = append(p.cfg.Forward, servers...)
	}
	return nil
}

// zone reads a domain with the port that CoreDNS would serve it on, which can only be the usual.
func (p *parser) zone(text string) (string, error) {
	name := strings.TrimPrefix(text, "dns://")
	if host, port, ok := strings.Cut(name, ":"); ok {
		if port != "53" {
			return "", p.errorf("%s: only port 53 is served", text)
		}
		name = host
	}
	name = dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(name); !ok || strings.ContainsAny(name, "/\\") {
		return "", p.errorf("%q is not a domain name", text)
	}
	switch {
	case name == ".":
		return "", p.errorf("the servers of all other names are said in a key that ends in .override: forward . ADDRESS")
	case dns.IsSubDomain(p.domain, name), dns.IsSubDomain(name, p.domain):
		return "", p.errorf("%s: the names of the cluster's own domain %s come from its Services", text, p.domain)
	}
	return name, nil
}

// directive reads one plugin's line, with its block, and returns the servers that it names.
func (p *parser) directive() ([]string, error) {
	words := p.words()
	if len(words) == 0 {
		t := p.next()
		return nil, p.errorf("unexpected %s", t.text)
	}
	line := p.line
	if err := p.skipBlock(words[0]); err != nil {
		return nil, err
	}
	after := p.line
	p.line = line
	defer func() { p.line = after }()
	if slices.Contains(redundant, words[0]) {
		return nil, nil
	}
	if words[0] != "forward" {
		return nil, p.errorf("plugin %s is not known here: there are forward and, without effect, %s", words[0], strings.Join(redundant, ", "))
	}
	if len(words) < 3 || words[1] != "." {
		return nil, p.errorf("want: forward . ADDRESS [ADDRESS ...]")
	}
	if len(words) > maxServers+2 {
		return nil, p.errorf("forward: %d servers, at most %d are taken", len(words)-2, maxServers)
	}
	for _, s := range words[2:] {
		if !address(s) {
			return nil, p.errorf("forward: %q is not an IP address, with or without a port", s)
		}
	}
	return words[2:], nil
}

// skipBlock passes over a plugin's options. They tune how CoreDNS asks, which is done in one way here.
func (p *parser) skipBlock(plugin string) error {
	if !p.is("{") {
		return nil
	}
	begin := p.line
	for depth := 1; depth > 0; {
		if len(p.tokens) == 0 {
			p.line = begin
			return p.errorf("the block of %s is not closed", plugin)
		}
		switch p.next().text {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
	return nil
}

// address says whether a text is an IP address, with or without a port.
func address(s string) bool {
	if host, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return false
		}
		s = host
	}
	_, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return err == nil
}
