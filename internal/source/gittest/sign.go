package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Signer is a key that the real tools sign with.
type Signer struct {
	// Public is the public key, as the tools print it; Name is what it is called in a Secret.
	Public []byte
	Name   string

	config []string
	env    []string
}

// NewSSHSigner makes an ssh key with ssh-keygen.
func NewSSHSigner(t testing.TB, kind string) *Signer {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed; apt-get install openssh-client")
	}
	file := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ada@example.com", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{Public: public, Name: "ada", config: []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + file}}
}

// NewOpenPGPSigner makes an OpenPGP key with gpg, whose agent ends with the test.
func NewOpenPGPSigner(t testing.TB) *Signer {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed; apt-get install gnupg")
	}
	home, err := os.MkdirTemp("", "gpg") // the agent's socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "GNUPGHOME="+home)
	run := func(name string, args ...string) []byte {
		cmd := exec.Command(name, args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return out
	}
	t.Cleanup(func() {
		run("gpgconf", "--kill", "all")
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	run("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "Ada <ada@example.com>", "ed25519", "sign", "never")
	return &Signer{Public: run("gpg", "--armor", "--export"), Name: "ada.asc", config: []string{"-c", "gpg.format=openpgp", "-c", "user.signingkey=ada@example.com"}, env: env}
}

// PushSigned is Push with a signature.
func (r *Repo) PushSigned(s *Signer, files map[string]string) string {
	r.t.Helper()
	r.signer = s
	defer func() { r.signer = nil }()
	return r.Push(files)
}

// TagSigned makes an annotated tag with a signature.
func (r *Repo) TagSigned(s *Signer, name, commit string) {
	r.t.Helper()
	r.signer = s
	defer func() { r.signer = nil }()
	r.run(r.Bare, "tag", "-s", "-m", "Release "+name, name, commit)
}
