package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// encrypted matches an encrypted value.
var encrypted = regexp.MustCompile(`^ENC\[AES256_GCM,data:([^,]*),iv:([^,]+),tag:([^,]+),type:([a-z]+)\]$`)

// plain is a decrypted value.
type plain struct {
	text, kind string
}

// open decrypts a value. None of the plaintext is in the error.
func open(key []byte, value, additional string) (plain, error) {
	m := encrypted.FindStringSubmatch(value)
	if m == nil {
		return plain{}, errors.New("it is not of the form ENC[AES256_GCM,...]")
	}
	var parts [3][]byte
	for i := range parts {
		b, err := base64.StdEncoding.DecodeString(m[i+1])
		if err != nil {
			return plain{}, errors.New("it is not base64")
		}
		parts[i] = b
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return plain{}, err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(parts[1]))
	if err != nil {
		return plain{}, errors.New("its initialization vector has a wrong length")
	}
	b, err := gcm.Open(nil, parts[1], append(parts[0], parts[2]...), []byte(additional))
	if err != nil {
		return plain{}, errors.New("it was changed or moved since it was encrypted")
	}
	p := plain{text: string(b), kind: m[4]}
	switch p.kind {
	case "str", "bytes", "comment", "time":
	case "int":
		_, err = strconv.Atoi(p.text)
	case "float":
		_, err = strconv.ParseFloat(p.text, 64)
	case "bool":
		_, err = strconv.ParseBool(p.text)
	default:
		return plain{}, fmt.Errorf("it is of the unknown type %q", p.kind)
	}
	if err != nil {
		return plain{}, fmt.Errorf("what was encrypted is no %s", p.kind)
	}
	return p, nil
}

// digest is what a value adds to the MAC: the form in which Go, and SOPS, print it.
func (p plain) digest() string {
	switch p.kind {
	case "bool":
		if v, _ := strconv.ParseBool(p.text); v { // open and canonical saw to it that it parses
			return "True"
		}
		return "False"
	case "float":
		f, _ := strconv.ParseFloat(p.text, 64)
		return strconv.FormatFloat(f, 'f', -1, 64)
	case "int":
		i, _ := strconv.Atoi(p.text)
		return strconv.Itoa(i)
	case "comment":
		return ""
	}
	return p.text
}

// literal is the value as JSON, which is YAML too, on one line.
func (p plain) literal() (string, error) {
	switch p.kind {
	case "int", "float":
		return p.digest(), nil
	case "bool":
		return strings.ToLower(p.digest()), nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p.text); err != nil {
		return "", errors.New("what was encrypted cannot be written as JSON")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// canonical gives the form in which SOPS reads an unencrypted value.
func canonical(v any) plain {
	switch v := v.(type) {
	case string:
		return plain{v, "str"}
	case bool:
		return plain{strconv.FormatBool(v), "bool"}
	case int:
		return plain{strconv.Itoa(v), "int"}
	case int64:
		return plain{strconv.FormatInt(v, 10), "int"}
	case float64:
		return plain{strconv.FormatFloat(v, 'f', -1, 64), "float"}
	case time.Time:
		text, err := v.MarshalText()
		if err != nil {
			return plain{}
		}
		return plain{string(text), "time"}
	}
	return plain{fmt.Sprint(v), "str"}
}

// tally adds values to the MAC in the order in which they stand in the file.
type tally struct {
	hash.Hash
	onlyEncrypted bool
}

// onlyEncryptedBegin keeps a MAC over the encrypted values alone from being taken for one over all; it is a constant of SOPS.
var onlyEncryptedBegin = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

func newTally(m metadata) *tally {
	t := &tally{Hash: sha512.New(), onlyEncrypted: m.MACOnlyEncrypted}
	if t.onlyEncrypted {
		t.Write(onlyEncryptedBegin)
	}
	return t
}

func (t *tally) add(p plain, wasEncrypted bool) {
	if wasEncrypted || !t.onlyEncrypted {
		t.Write([]byte(p.digest()))
	}
}

// check compares the MAC with that of the metadata.
func (t *tally) check(key []byte, m metadata) error {
	at, err := m.lastModified()
	if err != nil {
		return err
	}
	want, err := open(key, m.MAC, at)
	if err != nil {
		return fmt.Errorf("its MAC cannot be read: %w", err)
	}
	if got := fmt.Sprintf("%X", t.Sum(nil)); subtle.ConstantTimeCompare([]byte(got), []byte(want.text)) != 1 {
		return errors.New("its MAC does not fit: values were added, taken away or changed since it was encrypted; edit it with `sops edit`")
	}
	return nil
}
