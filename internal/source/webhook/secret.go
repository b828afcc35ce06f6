package webhook

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// OpenSecret reads the installation's webhook secret from a file, and makes it at the first start. White space around it does not count, so
// that people may put one of their own there with an editor.
func OpenSecret(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		secret := bytes.TrimSpace(b)
		if len(secret) < 16 {
			return nil, fmt.Errorf("the webhook secret in %s has %d characters; use at least 16, or delete the file and a new one is made", file, len(secret))
		}
		return secret, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading the webhook secret: %w", err)
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	secret := hex.AppendEncode(nil, raw)
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, append(secret, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("writing the webhook secret: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return nil, fmt.Errorf("writing the webhook secret: %w", err)
	}
	return secret, nil
}
