package auth

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// Issuer is the name under which the cluster signs ServiceAccount tokens, and their audience when none is asked for; the same as Kubernetes' default.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// maxTokenLife bounds what a request may ask for.
const maxTokenLife = 365 * 24 * time.Hour

// Tokens issues and verifies ServiceAccount tokens: JSON Web Tokens signed with ES256, whose private claims are those of Kubernetes' bound tokens.
type Tokens struct {
	key     *ecdsa.PrivateKey
	signer  jose.Signer
	objects TokenObjects
}

// TokenObjects finds the objects that a token speaks of: a token ends with its account, and with the Pod, Secret or Node that it is bound to.
type TokenObjects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
}

var _ registry.TokenIssuer = (*Tokens)(nil)

// NewTokens signs with key. Lookup must be called before anything is verified.
func NewTokens(key *ecdsa.PrivateKey) (*Tokens, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}
	signer, err := jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("signer of ServiceAccount tokens: %w", err)
	}
	return &Tokens{key: key, signer: signer}, nil
}

// Lookup says how the objects that a token speaks of are found.
func (t *Tokens) Lookup(o TokenObjects) { t.objects = o }

type reference struct {
	Name string    `json:"name,omitempty"`
	UID  types.UID `json:"uid,omitempty"`
}

type privateClaims struct {
	Kubernetes struct {
		Namespace      string     `json:"namespace,omitempty"`
		ServiceAccount reference  `json:"serviceaccount"`
		Pod            *reference `json:"pod,omitempty"`
		Secret         *reference `json:"secret,omitempty"`
		Node           *reference `json:"node,omitempty"`
	} `json:"kubernetes.io"`
}

// Audience implements registry.TokenIssuer.
func (*Tokens) Audience() string { return Issuer }

// Issue implements registry.TokenIssuer.
func (t *Tokens) Issue(r registry.TokenRequest) (string, time.Time, error) {
	now := time.Now()
	expires := now.Add(min(r.Lifetime, maxTokenLife)).Truncate(time.Second)
	claims := jwt.Claims{
		Issuer: Issuer, Subject: serviceaccount.MakeUsername(r.Account.Namespace, r.Account.Name), Audience: r.Audiences,
		Expiry: jwt.NewNumericDate(expires), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now), ID: string(uuid.NewUUID()),
	}
	var private privateClaims
	k := &private.Kubernetes
	k.Namespace = r.Account.Namespace
	k.ServiceAccount = reference{r.Account.Name, r.Account.UID}
	if r.Pod != nil {
		k.Pod = &reference{r.Pod.Name, r.Pod.UID}
		if r.Pod.Spec.NodeName != "" {
			k.Node = &reference{Name: r.Pod.Spec.NodeName}
		}
	}
	if r.Secret != nil {
		k.Secret = &reference{r.Secret.Name, r.Secret.UID}
	}
	if r.Node != nil {
		k.Node = &reference{r.Node.Name, r.Node.UID}
	}
	token, err := jwt.Signed(t.signer).Claims(claims).Claims(private).Serialize()
	return token, expires, err
}

// AuthenticateToken implements authenticator.Token. A token that somebody else issued is not judged; one of ours that is no longer good is an error that says why.
func (t *Tokens) AuthenticateToken(ctx context.Context, text string) (*authenticator.Response, bool, error) {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, false, nil
	}
	var claims jwt.Claims
	var private privateClaims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Issuer != Issuer && claims.Issuer != legacyIssuer {
		return nil, false, nil
	}
	if err := token.Claims(t.key.Public(), &claims, &private); err != nil {
		return nil, false, errors.New("the token is not signed by this cluster")
	}
	if claims.Issuer == legacyIssuer {
		return t.legacy(ctx, token, text)
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: Issuer, Time: time.Now()}, 0); err != nil {
		return nil, false, fmt.Errorf("the ServiceAccount token of %s: %w", claims.Subject, err)
	}
	audiences, err := intersect(ctx, claims.Audience)
	if err != nil {
		return nil, false, fmt.Errorf("the ServiceAccount token of %s %w", claims.Subject, err)
	}
	k := &private.Kubernetes
	info := serviceaccount.ServiceAccountInfo{
		Name: k.ServiceAccount.Name, Namespace: k.Namespace, UID: string(k.ServiceAccount.UID), CredentialID: "JTI=" + claims.ID,
	}
	account, err := t.objects.ServiceAccount(ctx, k.Namespace, k.ServiceAccount.Name)
	if err := alive("ServiceAccount", k.Namespace, k.ServiceAccount, uidOf(account, err), err); err != nil {
		return nil, false, err
	}
	if k.Secret != nil {
		secret, err := t.objects.Secret(ctx, k.Namespace, k.Secret.Name)
		if err := alive("Secret", k.Namespace, *k.Secret, uidOf(secret, err), err); err != nil {
			return nil, false, err
		}
	}
	if k.Pod != nil {
		pod, err := t.objects.Pod(ctx, k.Namespace, k.Pod.Name)
		if err := alive("Pod", k.Namespace, *k.Pod, uidOf(pod, err), err); err != nil {
			return nil, false, err
		}
		info.PodName, info.PodUID = k.Pod.Name, string(k.Pod.UID)
	}
	if k.Node != nil {
		info.NodeName, info.NodeUID = k.Node.Name, string(k.Node.UID)
		// A Pod's token names its node for information; only one bound to the node ends with it.
		if k.Pod == nil {
			node, err := t.objects.Node(ctx, k.Node.Name)
			if err := alive("Node", "", *k.Node, uidOf(node, err), err); err != nil {
				return nil, false, err
			}
		}
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}

// intersect is what a token is for, of what the request is about: this API server unless a review asks otherwise.
func intersect(ctx context.Context, audience jwt.Audience) (authenticator.Audiences, error) {
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok || len(wanted) == 0 {
		wanted = authenticator.Audiences{Issuer}
	}
	both := wanted.Intersect(authenticator.Audiences(audience))
	if len(both) == 0 {
		return nil, fmt.Errorf("is for %v, not for this API server", audience)
	}
	return slices.Clone(both), nil
}

func uidOf(obj interface{ GetUID() types.UID }, err error) types.UID {
	if err != nil {
		return ""
	}
	return obj.GetUID()
}

func alive(kind, namespace string, ref reference, uid types.UID, err error) error {
	if apierrors.IsNotFound(err) || err == nil && uid != ref.UID {
		return fmt.Errorf("the token belongs to %s %s/%s, which has been deleted", kind, namespace, ref.Name)
	}
	return err
}
