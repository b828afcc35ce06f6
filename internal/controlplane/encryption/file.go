package encryption

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
)

// keyBytes is the size of a key of XSalsa20 and Poly1305, whose random nonces never repeat however many objects one key sees.
const keyBytes = 32

// EnsureFile makes the file with a first key if there is none. What was stored before, in the clear, stays readable.
func EnsureFile(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := newKey(time.Now())
	if err != nil {
		return err
	}
	return write(file, &apiserverv1.EncryptionConfiguration{Resources: []apiserverv1.ResourceConfiguration{{
		Resources: []string{"secrets"},
		Providers: []apiserverv1.ProviderConfiguration{
			{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: []apiserverv1.Key{key}}}, {Identity: &apiserverv1.IdentityConfiguration{}},
		},
	}}})
}

// AddKey puts a new key before the others of every resource of the file and returns the resources: from now on objects are written with it.
func AddKey(file string, now time.Time) ([]string, error) {
	config, err := read(file)
	if err != nil {
		return nil, err
	}
	var resources []string
	for i := range config.Resources {
		box, err := secretbox(file, &config.Resources[i])
		if err != nil {
			return nil, err
		}
		key, err := newKey(now)
		if err != nil {
			return nil, err
		}
		box.Keys = append([]apiserverv1.Key{key}, box.Keys...)
		resources = append(resources, config.Resources[i].Resources...)
	}
	return resources, write(file, config)
}

// DropOldKeys leaves only the first key of every resource. Every object must have been written with it.
func DropOldKeys(file string) error {
	config, err := read(file)
	if err != nil {
		return err
	}
	for i := range config.Resources {
		box, err := secretbox(file, &config.Resources[i])
		if err != nil {
			return err
		}
		box.Keys = box.Keys[:1]
	}
	return write(file, config)
}

// secretbox is the first provider, which is the one that writes.
func secretbox(file string, r *apiserverv1.ResourceConfiguration) (*apiserverv1.SecretboxConfiguration, error) {
	if len(r.Providers) == 0 || r.Providers[0].Secretbox == nil || len(r.Providers[0].Secretbox.Keys) == 0 {
		return nil, fmt.Errorf("%s: the first provider of %s is not secretbox: its keys are yours to rotate; add one before the others and rewrite the objects",
			file, strings.Join(r.Resources, ", "))
	}
	return r.Providers[0].Secretbox, nil
}

// newKey is named by its time: no two keys of a file may have one name.
func newKey(now time.Time) (apiserverv1.Key, error) {
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return apiserverv1.Key{}, err
	}
	return apiserverv1.Key{Name: "key-" + strconv.FormatInt(now.UnixNano(), 36), Secret: base64.StdEncoding.EncodeToString(secret)}, nil
}

func read(file string) (*apiserverv1.EncryptionConfiguration, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("encryption keys: %w", err)
	}
	config := &apiserverv1.EncryptionConfiguration{}
	if err := yaml.UnmarshalStrict(text, config); err != nil {
		return nil, fmt.Errorf("encryption keys in %s: %w; restore the file from a backup: without it nobody can read the Secrets", file, err)
	}
	return config, nil
}

func write(file string, config *apiserverv1.EncryptionConfiguration) error {
	config.TypeMeta = metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"}
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	return pki.WriteFile(file, text, 0o600)
}
