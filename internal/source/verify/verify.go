package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"
)

// ErrUnsigned is a commit or tag without signature.
var ErrUnsigned = errors.New("it is not signed")

// Commit returns who signed a commit, given as Git stores it, for people: the kind of key, its fingerprint and its owner.
func (k Keys) Commit(raw []byte) (string, error) {
	payload, signature := splitCommit(raw)
	return k.check(payload, signature)
}

// Tag returns who signed an annotated tag, given as Git stores it.
func (k Keys) Tag(raw []byte) (string, error) {
	payload, signature := splitTag(raw)
	return k.check(payload, signature)
}

// splitCommit takes the signature, which is a header, out of a commit. What was signed is the commit without it; gitformat-signature(5).
func splitCommit(raw []byte) (payload, signature []byte) {
	head, message, found := bytes.Cut(raw, []byte("\n\n"))
	within := false
	var kept [][]byte
	for _, line := range bytes.Split(head, []byte("\n")) {
		switch {
		case bytes.HasPrefix(line, []byte("gpgsig ")) && signature == nil:
			within = true
			signature = append(append(signature, line[len("gpgsig "):]...), '\n')
		case within && bytes.HasPrefix(line, []byte(" ")):
			signature = append(append(signature, line[1:]...), '\n')
		default:
			within = false
			kept = append(kept, line)
		}
	}
	payload = bytes.Join(kept, []byte("\n"))
	if found {
		payload = append(append(payload, "\n\n"...), message...)
	}
	return payload, signature
}

// splitTag takes the signature, which ends the message, off a tag.
func splitTag(raw []byte) (payload, signature []byte) {
	at := -1
	for _, begin := range []string{"-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----", "-----BEGIN SSH SIGNATURE-----"} {
		if i := bytes.LastIndex(raw, []byte("\n"+begin)); i > at {
			at = i
		}
	}
	if at < 0 {
		return raw, nil
	}
	return raw[:at+1], raw[at+1:]
}

func (k Keys) check(payload, signature []byte) (string, error) {
	switch {
	case len(signature) == 0:
		return "", ErrUnsigned
	case bytes.HasPrefix(signature, []byte("-----BEGIN SSH SIGNATURE-----")):
		return k.checkSSH(payload, signature)
	case bytes.HasPrefix(signature, []byte("-----BEGIN PGP ")):
		return k.checkOpenPGP(payload, signature)
	}
	first, _, _ := strings.Cut(string(signature), "\n")
	return "", fmt.Errorf("its signature is of an unknown kind (%q); OpenPGP and ssh are known", clip(first))
}

func (k Keys) checkOpenPGP(payload, signature []byte) (string, error) {
	signer, err := openpgp.CheckArmoredDetachedSignature(k.openpgp, bytes.NewReader(payload), bytes.NewReader(signature), &packet.Config{})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("it is signed by the OpenPGP key %s, which is not among those that may sign", issuer(signature))
	case err != nil && signer != nil:
		return "", fmt.Errorf("its signature by %s does not hold: %w", describe(signer), err)
	case err != nil:
		return "", fmt.Errorf("its signature does not hold: %w", err)
	}
	return describe(signer), nil
}

func describe(e *openpgp.Entity) string {
	owner := ""
	if id := e.PrimaryIdentity(); id != nil {
		owner = " of " + id.Name
	}
	return fmt.Sprintf("OpenPGP key %X%s", e.PrimaryKey.Fingerprint, owner)
}

// issuer names the key that a signature says it is by.
func issuer(signature []byte) string {
	block, err := armor.Decode(bytes.NewReader(signature))
	if err != nil {
		return "of unknown name"
	}
	p, err := packet.Read(block.Body)
	if err != nil {
		return "of unknown name"
	}
	s, ok := p.(*packet.Signature)
	switch {
	case !ok:
		return "of unknown name"
	case len(s.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", s.IssuerFingerprint)
	case s.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *s.IssuerKeyId)
	}
	return "of unknown name"
}

// namespace is what Git signs in, so that a signature made for another purpose does not count.
const namespace = "git"

// sshSignature is the blob in the armor; https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
type sshSignature struct {
	Version       uint32
	PublicKey     string
	Namespace     string
	Reserved      string
	HashAlgorithm string
	Signature     string
}

// sshMagic begins the blob, and what is signed.
const sshMagic = "SSHSIG"

func (k Keys) checkSSH(payload, signature []byte) (string, error) {
	malformed := errors.New("its ssh signature cannot be read")
	block, _ := pem.Decode(signature)
	if block == nil || !bytes.HasPrefix(block.Bytes, []byte(sshMagic)) {
		return "", malformed
	}
	var s sshSignature
	if err := ssh.Unmarshal(block.Bytes[len(sshMagic):], &s); err != nil || s.Version != 1 {
		return "", malformed
	}
	if s.Namespace != namespace {
		return "", fmt.Errorf("its ssh signature was made for %q, not for %s", clip(s.Namespace), namespace)
	}
	public, err := ssh.ParsePublicKey([]byte(s.PublicKey))
	if err != nil {
		return "", malformed
	}
	name := "ssh key " + ssh.FingerprintSHA256(public)
	known := false
	for _, may := range k.ssh {
		if bytes.Equal(may.Marshal(), public.Marshal()) {
			known = true
			if may.name != "" {
				name += " of " + may.name
			}
			break
		}
	}
	if !known {
		return "", fmt.Errorf("it is signed by the %s, which is not among those that may sign", name)
	}
	var digest []byte
	switch s.HashAlgorithm {
	case "sha512":
		sum := sha512.Sum512(payload)
		digest = sum[:]
	case "sha256":
		sum := sha256.Sum256(payload)
		digest = sum[:]
	default:
		return "", malformed
	}
	var inner ssh.Signature
	if err := ssh.Unmarshal([]byte(s.Signature), &inner); err != nil {
		return "", malformed
	}
	if inner.Format == ssh.KeyAlgoRSA {
		return "", fmt.Errorf("its signature by the %s uses SHA-1, which does not hold", name)
	}
	signed := append([]byte(sshMagic), ssh.Marshal(struct{ Namespace, Reserved, HashAlgorithm, Hash string }{s.Namespace, s.Reserved, s.HashAlgorithm, string(digest)})...)
	if err := public.Verify(signed, &inner); err != nil {
		return "", fmt.Errorf("its signature by the %s does not fit what is signed", name)
	}
	return name, nil
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
