package server

import (
	"path/filepath"

	"github.com/gitopsd/gitopsd/internal/controlplane/encryption"
)

// EncryptionFile is where the keys of stored Secrets are kept unless the user has a file of their own.
func EncryptionFile(pkiDir string) string { return filepath.Join(pkiDir, "encryption.yaml") }

// openKeys reads the keys with which objects are stored; a first start makes them.
func openKeys(cfg Config) (*encryption.Keys, error) {
	file := cfg.EncryptionConfig
	if file == "" {
		file = EncryptionFile(cfg.PKI.Dir())
		if err := encryption.EnsureFile(file); err != nil {
			return nil, err
		}
	}
	return encryption.Open(file)
}
