package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"
)

const (
	defaultAccount = "default"
	// tokenVolume is how the names of token volumes begin; other programs know them by it.
	tokenVolume = "kube-api-access-"
	// tokenPath is where client libraries look for the token, the authority's certificate and the namespace.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	rootCA    = "kube-root-ca.crt"
	// tokenSeconds is a little over an hour, as in Kubernetes: readers of logs tell these tokens by it.
	tokenSeconds = int64(60*60 + 7)
	tokenMode    = int32(0o644)
)

// serviceAccount gives a new Pod the account it runs as, with that account's pull secrets and a volume that holds its token.
func serviceAccount(objects Objects) *rule {
	return rule{of: podResource, admit: func(ctx context.Context, a admission.Attributes) error {
		pod, ok := object[*corev1.Pod](a)
		if !ok || a.GetOperation() == admission.Update {
			return nil
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return nil
		}
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = defaultAccount
		}
		pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
		account, err := objects.ServiceAccount(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
		switch {
		case apierrors.IsNotFound(err) && pod.Spec.ServiceAccountName == defaultAccount:
			// It is made right after its namespace. A Pod that came faster gets what an untouched account would give it.
			account = &corev1.ServiceAccount{}
		case err != nil:
			return fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, withoutStatus{err})
		}
		useAccount(pod, account, rand.String)
		return nil
	}, validate: func(_ context.Context, a admission.Attributes) error {
		pod, ok := object[*corev1.Pod](a)
		if !ok || a.GetOperation() != admission.Create {
			return nil
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return mirrorPodIsPlain(pod)
		}
		return nil
	}}.on(nil, admission.Create)
}

// withoutStatus hides that an error is itself an answer to a request: the account is missing, not the Pod.
type withoutStatus struct{ error }

// mirrorPodIsPlain refuses what a static Pod cannot have: it exists on its node before the API knows of it, and must not get rights through its mirror.
func mirrorPodIsPlain(pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return fmt.Errorf("a mirror pod may not reference service accounts")
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return fmt.Errorf("a mirror pod may not use ServiceAccountToken volume projections")
		}
		if v.Secret != nil {
			return fmt.Errorf("a mirror pod may not reference secrets")
		}
	}
	return nil
}

// useAccount applies what an account means for its Pods.
func useAccount(pod *corev1.Pod, account *corev1.ServiceAccount, random func(int) string) {
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	if mountsToken(pod, account) {
		mountToken(pod, random)
	}
}

// mountsToken: the Pod's word counts before the account's.
func mountsToken(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	for _, choice := range []*bool{pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken} {
		if choice != nil {
			return *choice
		}
	}
	return true
}

// mountToken mounts the token where a container has nothing at that path, and adds the volume if anybody uses it.
func mountToken(pod *corev1.Pod, random func(int) string) {
	name, exists := "", false
	for i := range pod.Spec.Volumes {
		if strings.HasPrefix(pod.Spec.Volumes[i].Name, tokenVolume) {
			name, exists = pod.Spec.Volumes[i].Name, true
		}
	}
	if !exists {
		name = tokenVolume + random(5)
	}
	used := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenPath})
			used = true
		}
	}
	if used && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenProjection()}})
	}
}

func tokenProjection() *corev1.ProjectedVolumeSource {
	seconds, mode := tokenSeconds, tokenMode
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: rootCA}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}},
	}}
}
