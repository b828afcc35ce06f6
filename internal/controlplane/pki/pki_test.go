package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheAuthorityIsMadeOnceAndReadAfterwards(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash() != second.Hash() || !first.ServiceAccountKey.Equal(second.ServiceAccountKey) {
		t.Error("a second Open made other keys")
	}
	cert, _, err := second.Server([]string{"example.test", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"example.test", "192.0.2.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: host}); err != nil {
			t.Errorf("certificate for %s: %v", host, err)
		}
	}
}

func TestDamagedKeysAreReportedAndNeverReplaced(t *testing.T) {
	for file, text := range map[string]string{"ca.crt": "rubbish", "ca.key": "rubbish", "service-account.key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Open(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, file)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("got %v, want an error that names %s and the remedy", err, path)
			}
			if now, _ := os.ReadFile(path); string(now) != text {
				t.Error("the damaged file was replaced")
			}
		})
	}
	t.Run("a key of another authority", func(t *testing.T) {
		dir, other := t.TempDir(), t.TempDir()
		for _, d := range []string{dir, other} {
			if _, err := Open(d); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key")); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "does not belong") {
			t.Errorf("got %v, want that key and certificate do not belong together", err)
		}
	})
}
