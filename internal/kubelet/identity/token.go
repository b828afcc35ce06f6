package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
)

// Token is a join token: gj1-<SHA-256 of the CA's SubjectPublicKeyInfo, in hexadecimal>-<id>.<secret>.
type Token struct {
	CAHash [sha256.Size]byte
	ID     string
	Bearer string // id.secret, what the API server knows
}

var tokenForm = regexp.MustCompile(`^gj1-([0-9a-f]{64})-(([a-z0-9]{6})\.[a-z0-9]{16})$`)

// errToken never quotes the token: messages end up in logs.
var errToken = errors.New("is no join token: it must have the form gj1-<64 hexadecimal digits>-<6 characters>.<16 characters>; print a new one with `gitopsd token create` on the control plane")

// ParseToken reads a join token.
func ParseToken(s string) (Token, error) {
	m := tokenForm.FindStringSubmatch(s)
	if m == nil {
		return Token{}, fmt.Errorf("--token %w", errToken)
	}
	t := Token{ID: m[3], Bearer: m[2]}
	if _, err := hex.Decode(t.CAHash[:], []byte(m[1])); err != nil {
		return Token{}, fmt.Errorf("--token %w", errToken)
	}
	return t, nil
}
