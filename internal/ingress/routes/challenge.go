package routes

import "strings"

// ChallengePath is where a certificate authority looks whether a host is whose it says (RFC 8555, section 8.3). It asks without TLS.
const ChallengePath = "/.well-known/acme-challenge/"

// challenges are answered for hosts whose certificates the cluster gets by ACME. The answer is made of the question and of what identifies the account, which
// is no secret: so every node can answer at once, and nothing has to reach it before it does. It helps nobody who has not got the account's key.
type challenges struct {
	account string
	hosts   map[string]bool
}

// Answering has the table, which is new, answer challenges for hosts, in lower case, in the name of an account.
func (t *Table) Answering(account string, hosts []string) *Table {
	t.challenges = challenges{account: account, hosts: map[string]bool{}}
	for _, h := range hosts {
		t.challenges.hosts[h] = true
	}
	return t
}

// maxToken bounds what is looked at as a token. They have some forty characters.
const maxToken = 128

// Challenge is what a certificate authority is to hear for a path of a host; empty for what is a request like others.
func (t *Table) Challenge(host, path string) string {
	token, ok := strings.CutPrefix(path, ChallengePath)
	if !ok || t.challenges.account == "" || !t.challenges.hosts[Hostname(host)] || token == "" || len(token) > maxToken || strings.ContainsFunc(token, notOfToken) {
		return ""
	}
	return token + "." + t.challenges.account
}

// notOfToken is RFC 8555, section 8.3: base64url without padding.
func notOfToken(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
