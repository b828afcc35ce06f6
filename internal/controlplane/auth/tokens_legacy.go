package auth

import (
	"context"
	"crypto/subtle"
	"fmt"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// legacyIssuer marks the tokens of Secrets, which do not end by themselves.
const legacyIssuer = "kubernetes/serviceaccount"

type legacyClaims struct {
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
	Account   string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// Legacy signs the token of a Secret.
func (t *Tokens) Legacy(account *corev1.ServiceAccount, secret string) (string, error) {
	claims := jwt.Claims{Issuer: legacyIssuer, Subject: serviceaccount.MakeUsername(account.Namespace, account.Name)}
	return jwt.Signed(t.signer).Claims(claims).Claims(legacyClaims{account.Namespace, secret, account.Name, string(account.UID)}).Serialize()
}

// legacy judges a token whose signature is good: it counts as long as its Secret holds it.
func (t *Tokens) legacy(ctx context.Context, token *jwt.JSONWebToken, text string) (*authenticator.Response, bool, error) {
	var c legacyClaims
	if err := token.Claims(t.key.Public(), &c); err != nil {
		return nil, false, fmt.Errorf("the claims of a ServiceAccount token: %w", err)
	}
	audiences, err := intersect(ctx, jwt.Audience{Issuer})
	if err != nil {
		return nil, false, fmt.Errorf("the token of Secret %s/%s %w", c.Namespace, c.Secret, err)
	}
	secret, err := t.objects.Secret(ctx, c.Namespace, c.Secret)
	if err != nil {
		return nil, false, fmt.Errorf("the token of Secret %s/%s: %w", c.Namespace, c.Secret, err)
	}
	if secret.DeletionTimestamp != nil || subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(text)) != 1 {
		return nil, false, fmt.Errorf("the token is no longer the one that Secret %s/%s holds", c.Namespace, c.Secret)
	}
	account, err := t.objects.ServiceAccount(ctx, c.Namespace, c.Account)
	if err != nil || string(account.UID) != c.UID {
		return nil, false, fmt.Errorf("the token of Secret %s/%s belongs to a ServiceAccount that has been deleted", c.Namespace, c.Secret)
	}
	info := serviceaccount.ServiceAccountInfo{Name: c.Account, Namespace: c.Namespace, UID: c.UID}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}
