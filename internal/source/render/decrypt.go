package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/sops"
)

// decrypting shows files that are encrypted with SOPS as they were before, to whoever reads them: manifests, what kustomize generates from, values of charts.
type decrypting struct {
	fs.FS
	keys *sops.Keys

	mu sync.Mutex
	// secrets are the lines of what was decrypted, to keep them out of messages.
	secrets []string
}

func (d *decrypting) ReadFile(name string) ([]byte, error) {
	data, err := fs.ReadFile(d.FS, name)
	if err != nil || !sops.Encrypted(name, data) {
		return data, err
	}
	if d.keys == nil {
		return nil, &source.ParseError{File: name, Message: "the file is encrypted with SOPS; name a Secret with the key in spec.source.decryption, or hide the file with .sourceignore"}
	}
	plain, err := d.keys.Decrypt(name, data)
	var e *sops.Error
	if errors.As(err, &e) {
		return nil, &source.ParseError{File: name, Line: e.Line, Message: "the file is encrypted with SOPS: " + e.Message}
	}
	if err != nil {
		return nil, err
	}
	d.keep(name, plain)
	return plain, nil
}

func (d *decrypting) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(d.FS, name) }
func (d *decrypting) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.FS, name) }

// minSecret is the shortest text that is taken for a secret; shorter ones are in every message.
const minSecret = 4

// keep notes what a message must not hold: each text in a decrypted file, and each line of one that has no values.
func (d *decrypting) keep(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ext := path.Ext(name); ext == ".yaml" || ext == ".yml" || ext == ".json" {
		if docs, err := source.Documents(source.File{Path: name, Data: data}); err == nil {
			for _, doc := range docs {
				d.keepValue(doc.Value)
			}
			return
		}
	}
	for _, line := range strings.Split(string(data), "\n") {
		d.keepText(line)
		if _, value, ok := strings.Cut(line, "="); ok {
			d.keepText(value)
		}
	}
}

func (d *decrypting) keepValue(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, below := range v {
			d.keepValue(below)
		}
	case []any:
		for _, below := range v {
			d.keepValue(below)
		}
	case nil, bool:
	default:
		text := fmt.Sprint(v)
		d.keepText(text)
		for _, line := range strings.Split(text, "\n") {
			d.keepText(line)
		}
	}
}

func (d *decrypting) keepText(text string) {
	if text = strings.Trim(strings.TrimSpace(text), `"'`); len(text) >= minSecret {
		d.secrets = append(d.secrets, text)
	}
}

// redact takes what was decrypted out of an error about files.
func (d *decrypting) redact(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all source.ParseErrors
	if err == nil || len(d.secrets) == 0 || !errors.As(err, &all) {
		return err
	}
	slices.SortFunc(d.secrets, func(a, b string) int { return len(b) - len(a) })
	out := slices.Clone(all)
	for i, e := range out {
		clean := *e
		for _, s := range d.secrets {
			// The key of a line is no secret, and a message that names it says more.
			if !strings.Contains(path.Base(clean.File), s) {
				clean.Message = strings.ReplaceAll(clean.Message, s, "***")
			}
		}
		out[i] = &clean
	}
	return out
}
