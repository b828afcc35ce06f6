package authentication

import (
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/util/webhook"
	webhooktoken "k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
)

// token asks the webhook; nil when there is none.
func (w Webhook) token(c Cluster) (authenticator.Token, error) {
	if w.ConfigFile == "" {
		return nil, nil
	}
	config, err := webhook.LoadKubeconfig(w.ConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-config-file %s: %w", w.ConfigFile, err)
	}
	t, err := webhooktoken.New(config, w.Version, authenticator.Audiences{c.Issuer}, *webhooktoken.DefaultRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-config-file %s: %w", w.ConfigFile, err)
	}
	if w.CacheTTL == 0 {
		return t, nil
	}
	return cache.New(t, false, w.CacheTTL, w.CacheTTL), nil
}
