package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Keys are private keys. The zero value is none.
type Keys struct {
	age     []age.Identity
	openpgp openpgp.EntityList
}

// Parse reads the values of a Secret: age identities under names that end in .agekey, armored OpenPGP keys under names that end in .asc; others are not looked at. No text of a
// key is in the error.
func Parse(data map[string][]byte) (Keys, error) {
	var k Keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch path.Ext(name) {
		case ".agekey":
			ids, err := age.ParseIdentities(bytes.NewReader(data[name]))
			if err != nil {
				return Keys{}, fmt.Errorf("%s holds no age identities, one a line, that begin with AGE-SECRET-KEY-", name)
			}
			k.age = append(k.age, ids...)
		case ".asc":
			list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data[name]))
			if err != nil {
				return Keys{}, fmt.Errorf("%s holds no armored OpenPGP private key", name)
			}
			for _, e := range list {
				if e.PrivateKey == nil {
					return Keys{}, fmt.Errorf("%s holds a public OpenPGP key; the private one is needed", name)
				}
				if e.PrivateKey.Encrypted {
					return Keys{}, fmt.Errorf("%s: the OpenPGP key has a passphrase; export it without one", name)
				}
			}
			k.openpgp = append(k.openpgp, list...)
		}
	}
	if len(k.age) == 0 && len(k.openpgp) == 0 {
		return Keys{}, errors.New("there is no key in it; age identities belong under a name that ends in .agekey, OpenPGP keys under .asc")
	}
	return k, nil
}

// dataKey finds the key of the values, by the first recipient that is one of ours.
func (k Keys) dataKey(m metadata) ([]byte, error) {
	if len(m.KeyGroups) > 1 {
		return nil, errors.New("its key is shared among several groups of keys, which is not supported")
	}
	recipients := slices.Concat(m.Age, m.flatAge())
	var names []string
	for _, r := range recipients {
		names = append(names, r.Recipient)
		if len(k.age) == 0 {
			continue
		}
		if rd, err := age.Decrypt(agearmor.NewReader(strings.NewReader(r.Enc)), k.age...); err == nil {
			if key, err := io.ReadAll(io.LimitReader(rd, maxKey)); err == nil && len(key) == keyBytes {
				return key, nil
			}
		}
	}
	for _, r := range m.pgp() {
		names = append(names, r.Fingerprint)
		if len(k.openpgp) == 0 {
			continue
		}
		block, err := armor.Decode(strings.NewReader(r.Enc))
		if err != nil {
			continue
		}
		message, err := openpgp.ReadMessage(block.Body, k.openpgp, nil, nil)
		if err != nil {
			continue
		}
		if key, err := io.ReadAll(io.LimitReader(message.UnverifiedBody, maxKey)); err == nil && len(key) == keyBytes {
			return key, nil
		}
	}
	if len(names) == 0 {
		return nil, errors.New("it is encrypted for neither an age recipient nor an OpenPGP key; cloud key services are not supported")
	}
	return nil, fmt.Errorf("none of the keys opens it; it is encrypted for %s", strings.Join(names, ", "))
}

const (
	keyBytes = 32
	maxKey   = 1024
)
