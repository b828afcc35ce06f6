package auth

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// The paths by which others verify ServiceAccount tokens (OpenID Connect Discovery 1.0).
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// keyID names a key by what it is: the hash of its SubjectPublicKeyInfo.
func keyID(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("key of ServiceAccount tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Discovery are the handlers by which others learn who issues tokens, and by which keys they are verified. External is where this API server is reached.
func (t *Tokens) Discovery(external string) (map[string]http.Handler, error) {
	id, err := keyID(&t.key.PublicKey)
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &t.key.PublicKey, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}}})
	if err != nil {
		return nil, fmt.Errorf("key set of ServiceAccount tokens: %w", err)
	}
	provider, err := json.Marshal(map[string]any{
		"issuer": Issuer, "jwks_uri": "https://" + external + KeysPath, "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
	if err != nil {
		return nil, fmt.Errorf("description of the token issuer: %w", err)
	}
	serve := func(mediaType string, body []byte) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_, _ = w.Write(body) // the client has gone, nobody is left to be told
		})
	}
	return map[string]http.Handler{
		DiscoveryPath: serve("application/json", provider), KeysPath: serve("application/jwk-set+json", keys),
	}, nil
}
