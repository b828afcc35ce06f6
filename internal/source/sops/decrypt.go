package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Error is a file that cannot be decrypted.
type Error struct {
	// Line is where, from 1; zero when the whole file is meant.
	Line    int
	Message string
}

func (e *Error) Error() string { return e.Message }

func failf(line int, format string, args ...any) *Error {
	return &Error{Line: line, Message: fmt.Sprintf(format, args...)}
}

// form is how a file's values are written.
type form int

const (
	notEncrypted form = iota
	formYAML
	formJSON
	formDotenv
	formBinary
	formINI
)

// Encrypted says whether a file is encrypted with SOPS.
func Encrypted(name string, data []byte) bool { return formOf(name, data) != notEncrypted }

// formOf goes by the name as SOPS does, and by the content where the name says nothing.
func formOf(name string, data []byte) form {
	if !bytes.Contains(data, []byte("ENC[AES256_GCM,")) {
		return notEncrypted
	}
	switch path.Ext(name) {
	case ".yaml", ".yml":
		if bytes.HasPrefix(data, []byte("sops:")) || bytes.Contains(data, []byte("\nsops:")) {
			return formYAML
		}
		return notEncrypted
	case ".json":
		if bytes.Contains(data, []byte(`"sops"`)) {
			return formJSON
		}
		return notEncrypted
	case ".ini":
		if bytes.Contains(data, []byte("\n[sops]")) {
			return formINI
		}
		return notEncrypted
	}
	switch {
	case bytes.HasPrefix(data, []byte("sops_")) || bytes.Contains(data, []byte("\nsops_mac=")):
		return formDotenv
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && bytes.Contains(data, []byte(`"sops"`)):
		return formBinary
	}
	return notEncrypted
}

// Decrypt returns the file as it was. The error is an *Error.
func (k Keys) Decrypt(name string, data []byte) ([]byte, error) {
	switch formOf(name, data) {
	case formYAML:
		return k.decryptYAML(data)
	case formJSON:
		return k.decryptJSON(data)
	case formBinary:
		return k.decryptBinary(data)
	case formDotenv:
		return k.decryptDotenv(data)
	case formINI:
		return nil, failf(0, "INI files encrypted with SOPS are not supported; use dotenv, JSON or YAML")
	}
	return data, nil
}

// decryptor goes through the documents of a file.
type decryptor struct {
	key   []byte
	tally *tally
	lines [][]byte
}

func (k Keys) decryptYAML(data []byte) ([]byte, error) { return k.inPlace(data, true) }

// inPlace decrypts the values in the lines where they stand; blank empties the lines of the metadata.
func (k Keys) inPlace(data []byte, blank bool) ([]byte, error) {
	docs, err := load(data)
	if err != nil {
		return nil, err
	}
	d := &decryptor{lines: bytes.Split(data, []byte("\n"))}
	var m metadata
	for _, doc := range docs {
		root := doc
		if root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
			root = root.Content[0]
		}
		if root.Kind != yaml.MappingNode {
			continue
		}
		if d.key == nil {
			if m, err = metadataOf(root); err != nil {
				return nil, err
			}
			if d.key, err = k.dataKey(m); err != nil {
				return nil, failf(0, "%v", err)
			}
			d.tally = newTally(m)
		}
		if err := d.walk(root, nil, true); err != nil {
			return nil, err
		}
		if blank {
			d.blank(root)
		}
	}
	if d.key == nil {
		return nil, failf(0, "its sops metadata are missing")
	}
	if err := d.tally.check(d.key, m); err != nil {
		return nil, failf(0, "%v", err)
	}
	return bytes.Join(d.lines, []byte("\n")), nil
}

// load parses every document of a file.
func load(data []byte) ([]*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, failf(0, "it cannot be read")
	}
	var docs []*yaml.Node
	for {
		n := &yaml.Node{}
		switch err := loader.Load(n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			var le *yaml.LoadError
			if errors.As(err, &le) {
				return nil, failf(le.Mark.Line, "it is no YAML: %s", le.Message)
			}
			return nil, failf(0, "it is no YAML")
		}
		docs = append(docs, n)
	}
}

func metadataOf(root *yaml.Node) (metadata, error) {
	var m metadata
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "sops" {
			continue
		}
		var v map[string]any
		if err := root.Content[i+1].Decode(&v); err != nil {
			return m, failf(root.Content[i].Line, "its sops metadata cannot be read")
		}
		if t, ok := v["lastmodified"].(interface{ MarshalText() ([]byte, error) }); ok {
			if text, err := t.MarshalText(); err == nil {
				v["lastmodified"] = string(text)
			}
		}
		b, err := json.Marshal(v)
		if err != nil || json.Unmarshal(b, &m) != nil {
			return m, failf(root.Content[i].Line, "its sops metadata cannot be read")
		}
		return m, nil
	}
	return m, failf(0, "its sops metadata are missing")
}

// walk decrypts the values below a node, in the lines where they stand. top says that the node is the document, whose key sops is not a value.
func (d *decryptor) walk(n *yaml.Node, at []string, top bool) error {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if top && key == "sops" {
				continue
			}
			if err := d.walk(n.Content[i+1], append(at[:len(at):len(at)], key), false); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := d.walk(item, at, false); err != nil {
				return err
			}
		}
	case yaml.AliasNode:
		return failf(n.Line, "anchors are not supported in an encrypted file")
	case yaml.ScalarNode:
		return d.scalar(n, at)
	}
	return nil
}

func (d *decryptor) scalar(n *yaml.Node, at []string) error {
	if !strings.HasPrefix(n.Value, "ENC[") {
		var v any
		if err := n.Decode(&v); err != nil {
			return failf(n.Line, "%s: it is no %s", strings.Join(at, "."), strings.TrimPrefix(n.ShortTag(), "!!"))
		}
		if v != nil {
			d.tally.add(canonical(v), false)
		}
		return nil
	}
	p, err := open(d.key, n.Value, strings.Join(at, ":")+":")
	if err != nil {
		return failf(n.Line, "%s cannot be decrypted: %v", strings.Join(at, "."), err)
	}
	d.tally.add(p, true)
	text, err := p.literal()
	if err != nil {
		return failf(n.Line, "%s: %v", strings.Join(at, "."), err)
	}
	line := d.lines[n.Line-1]
	for _, quote := range []string{`"`, `'`, ""} {
		if written := []byte(quote + n.Value + quote); bytes.Contains(line, written) {
			d.lines[n.Line-1] = bytes.Replace(line, written, []byte(text), 1)
			return nil
		}
	}
	return failf(n.Line, "%s: an encrypted value must stand on one line, as SOPS writes it", strings.Join(at, "."))
}

// blank empties the lines of the metadata, so that all others stay where they are.
func (d *decryptor) blank(root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "sops" {
			continue
		}
		end := len(d.lines) + 1
		if i+2 < len(root.Content) {
			end = root.Content[i+2].Line
		}
		for l := root.Content[i].Line; l < end; l++ {
			if text := d.lines[l-1]; l > root.Content[i].Line && (bytes.HasPrefix(text, []byte("---")) || bytes.HasPrefix(text, []byte("..."))) {
				break
			}
			d.lines[l-1] = nil
		}
	}
}

// decryptJSON keeps the values, but not the lines.
func (k Keys) decryptJSON(data []byte) ([]byte, error) {
	root, err := k.jsonRoot(data)
	if err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, failf(0, "what was decrypted cannot be written as JSON")
	}
	return append(out, '\n'), nil
}

// decryptBinary returns what SOPS has wrapped in JSON because it knew no form of the file.
func (k Keys) decryptBinary(data []byte) ([]byte, error) {
	root, err := k.jsonRoot(data)
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(root["data"], &text); err != nil {
		return nil, failf(0, "its data are missing")
	}
	return []byte(text), nil
}

// jsonRoot decrypts a JSON file, which is YAML too, and takes the metadata out.
func (k Keys) jsonRoot(data []byte) (map[string]json.RawMessage, error) {
	plain, err := k.inPlace(data, false)
	if err != nil {
		return nil, err
	}
	var root map[string]json.RawMessage
	if err := json.Unmarshal(plain, &root); err != nil {
		return nil, failf(0, "it is no JSON object") // what json says may quote the plaintext
	}
	delete(root, "sops")
	return root, nil
}

// sopsPrefix begins the keys of the metadata in a dotenv file.
const sopsPrefix = "sops_"

// decryptDotenv decrypts lines of KEY=VALUE.
func (k Keys) decryptDotenv(data []byte) ([]byte, error) {
	lines := strings.Split(string(data), "\n")
	meta := map[string]string{}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, sopsPrefix) {
			meta[strings.TrimPrefix(name, sopsPrefix)] = strings.ReplaceAll(value, `\n`, "\n")
		}
	}
	m := flat(meta)
	key, err := k.dataKey(m)
	if err != nil {
		return nil, failf(0, "%v", err)
	}
	t := newTally(m)
	var out strings.Builder
	for i, line := range lines {
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(name, sopsPrefix) {
			if !strings.HasPrefix(name, sopsPrefix) && !strings.HasPrefix(line, "#ENC[") && i < len(lines)-1 {
				out.WriteString(line + "\n")
			}
			continue
		}
		if !strings.HasPrefix(value, "ENC[") {
			t.add(plain{strings.ReplaceAll(value, `\n`, "\n"), "str"}, false)
			out.WriteString(line + "\n")
			continue
		}
		p, err := open(key, value, name+":")
		if err != nil {
			return nil, failf(i+1, "%s cannot be decrypted: %v", name, err)
		}
		t.add(p, true)
		out.WriteString(name + "=" + strings.ReplaceAll(p.text, "\n", `\n`) + "\n")
	}
	if err := t.check(key, m); err != nil {
		return nil, failf(0, "%v", err)
	}
	return []byte(out.String()), nil
}
