package validation

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// redacted stands for a Secret's content in messages, which end up in logs and on screens.
const redacted = "<secret contents redacted>"

// Secret says what may be created: each type promises its users some keys.
func Secret(obj *corev1.Secret) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, secretData(obj)...)
}

func secretData(obj *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	data := field.NewPath("data")
	size := 0
	for _, key := range sortedKeys(obj.Data) {
		errs = append(errs, dataKey(data.Key(key), key)...)
		size += len(obj.Data[key])
	}
	if size > maxDataSize {
		errs = append(errs, field.TooLong(data, "", maxDataSize))
	}
	switch obj.Type {
	case corev1.SecretTypeServiceAccountToken:
		if obj.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(metadataPath.Child("annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, requiredJSON(data.Key(corev1.DockerConfigKey), obj, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, requiredJSON(data.Key(corev1.DockerConfigJsonKey), obj, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, username := obj.Data[corev1.BasicAuthUsernameKey]
		_, password := obj.Data[corev1.BasicAuthPasswordKey]
		if !username && !password { // some servers want only one of them
			errs = append(errs, field.Required(data.Key(corev1.BasicAuthUsernameKey), ""), field.Required(data.Key(corev1.BasicAuthPasswordKey), ""))
		}
	case corev1.SecretTypeSSHAuth:
		if len(obj.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		// The content may still be empty: some issuers create the Secret first and fill it in.
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := obj.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), ""))
			}
		}
	}
	return errs
}

func dataKey(at *field.Path, key string) field.ErrorList {
	return invalid(at, key, validation.IsConfigMapKey(key))
}

// requiredJSON wants a JSON object under a key.
func requiredJSON(at *field.Path, obj *corev1.Secret, key string) field.ErrorList {
	value, ok := obj.Data[key]
	if !ok {
		return field.ErrorList{field.Required(at, "")}
	}
	var object map[string]any
	if err := json.Unmarshal(value, &object); err != nil {
		// What the parser says quotes what it found.
		return field.ErrorList{field.Invalid(at, redacted, "must be a JSON object")}
	}
	return nil
}

// SecretUpdate says what a Secret may be replaced with. Its type stays, because whoever uses it looked at the type; once
// immutable, so does the data.
func SecretUpdate(obj, old *corev1.Secret) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, validateImmutable(obj.Type, old.Type, field.NewPath("type"))...)
	if isTrue(old.Immutable) {
		errs = append(errs, staysImmutable(obj.Immutable)...)
		if !apiequality.Semantic.DeepEqual(obj.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), immutableDetail))
		}
	}
	return append(errs, secretData(obj)...)
}
