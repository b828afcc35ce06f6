package verify

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"
)

// Keys are the public keys that may sign.
type Keys struct {
	openpgp openpgp.EntityList
	ssh     []sshKey
}

type sshKey struct {
	ssh.PublicKey
	// name is the key's comment or principal, for messages.
	name string
}

// Parse reads the values of a Secret: armored or binary OpenPGP keys under names that end in .asc or .gpg, and under any other name ssh keys, one a line, as in authorized_keys or in an
// allowed_signers file.
func Parse(data map[string][]byte) (Keys, error) {
	var k Keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch path.Ext(name) {
		case ".asc", ".gpg":
			read := openpgp.ReadKeyRing
			if bytes.Contains(data[name], []byte("-----BEGIN PGP")) {
				read = openpgp.ReadArmoredKeyRing
			}
			list, err := read(bytes.NewReader(data[name]))
			if err != nil {
				return Keys{}, fmt.Errorf("%s holds no OpenPGP public key: %w", name, err)
			}
			k.openpgp = append(k.openpgp, list...)
		default:
			for i, line := range strings.Split(string(data[name]), "\n") {
				if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				key, err := parseLine(line)
				if err != nil {
					return Keys{}, fmt.Errorf("%s, line %d: %w", name, i+1, err)
				}
				k.ssh = append(k.ssh, key)
			}
		}
	}
	if len(k.openpgp) == 0 && len(k.ssh) == 0 {
		return Keys{}, fmt.Errorf("there is no key in it")
	}
	return k, nil
}

// parseLine reads "type base64 comment", before which there may be principals and options as ssh-keygen(1) describes allowed signers.
func parseLine(line string) (sshKey, error) {
	fields := strings.Fields(line)
	at := slices.IndexFunc(fields, func(f string) bool {
		return strings.HasPrefix(f, "ssh-") || strings.HasPrefix(f, "ecdsa-") || strings.HasPrefix(f, "sk-ssh-") || strings.HasPrefix(f, "sk-ecdsa-")
	})
	if at < 0 || at+1 >= len(fields) {
		return sshKey{}, fmt.Errorf("no ssh public key; OpenPGP keys belong under a name that ends in .asc or .gpg")
	}
	if at > 1 {
		for _, option := range strings.Split(strings.Join(fields[1:at], " "), ",") {
			name, value, _ := strings.Cut(option, "=")
			if !strings.EqualFold(name, "namespaces") || !slices.Contains(strings.Split(strings.Trim(value, `"`), ","), namespace) {
				return sshKey{}, fmt.Errorf("the option %q is not supported here; namespaces=\"git\" is", option)
			}
		}
	}
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(fields[at:], " ")))
	if err != nil {
		return sshKey{}, fmt.Errorf("the ssh public key cannot be read: %w", err)
	}
	if _, isCert := key.(*ssh.Certificate); isCert {
		return sshKey{}, fmt.Errorf("certificates are not supported; give the key itself")
	}
	if at > 0 {
		comment = fields[0]
	}
	return sshKey{key, comment}, nil
}
