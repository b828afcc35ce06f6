package identity

import (
	"encoding/hex"
	"strings"
	"testing"
)

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseToken(t *testing.T) {
	got, err := ParseToken("gj1-" + hash + "-abc123.0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got.CAHash[:]) != hash || got.ID != "abc123" || got.Bearer != "abc123.0123456789abcdef" {
		t.Errorf("got %+v", got)
	}
}

func TestATokenThatIsNoneIsNotQuoted(t *testing.T) {
	for _, s := range []string{"", "x", "abc123.0123456789abcdef", "gj1-" + hash[1:] + "-abc123.0123456789abcdef", "gj1-" + hash + "-abc123.secretsecretsecretx",
		"gj1-" + strings.ToUpper(hash) + "-abc123.0123456789abcdef", "gj2-" + hash + "-abc123.0123456789abcdef", " gj1-" + hash + "-abc123.0123456789abcdef"} {
		_, err := ParseToken(s)
		if err == nil {
			t.Errorf("%q was taken for a token", s)
			continue
		}
		if s != "" && len(s) > 5 && strings.Contains(err.Error(), s) {
			t.Errorf("the message quotes the token: %v", err)
		}
		if !strings.Contains(err.Error(), "gitopsd token create") {
			t.Errorf("the message does not say how to get a token: %v", err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("gj1-" + hash + "-abc123.0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && s != "gj1-"+hex.EncodeToString(tok.CAHash[:])+"-"+tok.Bearer {
			t.Errorf("%q was read as %+v", s, tok)
		}
	})
}
