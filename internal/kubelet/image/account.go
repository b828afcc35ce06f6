package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	kubeletconfig "k8s.io/kubelet/config/v1"
)

// Account is the ServiceAccount of the Pod that an image is for. Plugins that are configured to (tokenAttributes, KEP-4412) are told of it, so that a registry can be asked in its name instead of the node's.
type Account struct {
	Get   func() (*v1.ServiceAccount, error)
	Token func(audience string) (string, error) // for the Pod alone
}

// errNotFor has a plugin left out: it is for Pods with a ServiceAccount, and there is none.
var errNotFor = errors.New("is for Pods with a ServiceAccount")

// introduction is what a plugin is told of an Account.
type introduction struct {
	annotations map[string]string
	key         string // of the answer among others; empty if it is everybody's
	token       func() (string, error)
}

// introduce works out what a plugin is told.
func introduce(t *kubeletconfig.ServiceAccountTokenAttributes, who *Account) (introduction, error) {
	none := introduction{token: func() (string, error) { return "", nil }}
	switch {
	case t == nil:
		return none, nil
	case who == nil && *t.RequireServiceAccount:
		return none, errNotFor
	case who == nil:
		return none, nil
	}
	account, err := who.Get()
	if err != nil {
		return none, fmt.Errorf("reading the Pod's ServiceAccount: %w", err)
	}
	id := introduction{annotations: map[string]string{}}
	for _, k := range t.RequiredServiceAccountAnnotationKeys {
		v, ok := account.Annotations[k]
		if !ok {
			return none, fmt.Errorf("ServiceAccount %s/%s lacks the annotation %s, which the plugin requires", account.Namespace, account.Name, k)
		}
		id.annotations[k] = v
	}
	for _, k := range t.OptionalServiceAccountAnnotationKeys {
		if v, ok := account.Annotations[k]; ok {
			id.annotations[k] = v
		}
	}
	id.token = func() (string, error) { return who.Token(t.ServiceAccountTokenAudience) }
	what := any([]any{account.Namespace, account.Name, account.UID, id.annotations})
	if t.CacheType == kubeletconfig.TokenServiceAccountTokenCacheType {
		token, err := id.token()
		if err != nil {
			return none, err
		}
		id.token = func() (string, error) { return token, nil }
		what = []any{token, id.annotations}
	}
	b, err := json.Marshal(what)
	if err != nil {
		return none, err
	}
	sum := sha256.Sum256(b) // a token is in no key
	id.key = hex.EncodeToString(sum[:])
	return id, nil
}

// checkAttributes refuses a configuration that upstream refuses too.
func checkAttributes(p *kubeletconfig.CredentialProvider) error {
	t := p.TokenAttributes
	if t == nil {
		return nil
	}
	both := slices.ContainsFunc(t.RequiredServiceAccountAnnotationKeys, func(k string) bool { return slices.Contains(t.OptionalServiceAccountAnnotationKeys, k) })
	switch {
	case p.APIVersion != providerGroup+"v1":
		return fmt.Errorf("tokenAttributes: take apiVersion %sv1, it is %q", providerGroup, p.APIVersion)
	case t.ServiceAccountTokenAudience == "":
		return errors.New("tokenAttributes.serviceAccountTokenAudience: must be whom the token is for")
	case t.CacheType != kubeletconfig.ServiceAccountServiceAccountTokenCacheType && t.CacheType != kubeletconfig.TokenServiceAccountTokenCacheType:
		return fmt.Errorf("tokenAttributes.cacheType: must be %s or %s, got %q", kubeletconfig.ServiceAccountServiceAccountTokenCacheType, kubeletconfig.TokenServiceAccountTokenCacheType, t.CacheType)
	case t.RequireServiceAccount == nil:
		return errors.New("tokenAttributes.requireServiceAccount: must be true or false")
	case len(t.RequiredServiceAccountAnnotationKeys) > 0 && !*t.RequireServiceAccount:
		return errors.New("tokenAttributes.requiredServiceAccountAnnotationKeys: take requireServiceAccount: true")
	case both:
		return errors.New("tokenAttributes: an annotation is either required or optional")
	}
	return nil
}
