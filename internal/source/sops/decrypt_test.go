package sops_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/source/sops"
)

// The files in testdata were made by the sops program: age.* and the like are encrypted, want.* is what it decrypts them to.

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func keys(t testing.TB, names ...string) sops.Keys {
	t.Helper()
	data := map[string][]byte{}
	for _, n := range names {
		data[n] = fixture(t, n)
	}
	k, err := sops.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// documents parses YAML for comparison.
func documents(t *testing.T, data []byte) []any {
	t.Helper()
	var out []any
	for _, part := range strings.Split(string(data), "\n---\n") {
		var v any
		if err := yaml.Unmarshal([]byte(part), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func TestWhatSopsEncryptsIsDecryptedToWhatSopsDecryptsItTo(t *testing.T) {
	for file, key := range map[string]string{"age.yaml": "keys.agekey", "whole.yaml": "keys.agekey", "macenc.yaml": "keys.agekey", "pgp.yaml": "keys.asc"} {
		encrypted := fixture(t, file)
		got, err := keys(t, key).Decrypt(file, encrypted)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if d := cmp.Diff(documents(t, fixture(t, "want.yaml")), documents(t, got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
		// Every line is where it was, for messages about what is in it.
		before, after := bytes.Split(encrypted, []byte("\n")), bytes.Split(got, []byte("\n"))
		if len(before) != len(after) {
			t.Fatalf("%s: %d lines became %d", file, len(before), len(after))
		}
		for i := range before {
			if name, _, ok := bytes.Cut(after[i], []byte(":")); ok && !bytes.HasPrefix(before[i], name) {
				t.Errorf("%s:%d: %q became %q", file, i+1, before[i], after[i])
			}
		}
	}
	for _, c := range [][2]string{{"age.env", "want.env"}, {"age.txt", "want.txt"}} {
		got, err := keys(t, "keys.asc", "keys.agekey").Decrypt(c[0], fixture(t, c[0]))
		want := strings.Replace(string(fixture(t, c[1])), "# comment\n", "", 1) // comments are left as they are in YAML, and out here
		if d := cmp.Diff(want, string(got)); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c[0], err, d)
		}
	}
	got, err := keys(t, "keys.agekey").Decrypt("age.json", fixture(t, "age.json"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(documents(t, fixture(t, "want.json")), documents(t, got)); d != "" {
		t.Errorf("age.json (-want +got):\n%s", d)
	}
}

func TestWhatWasChangedAfterItWasEncryptedIsRefused(t *testing.T) {
	k := keys(t, "keys.agekey")
	value := regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]]+\]`)
	for file, changes := range map[string]map[string]func(string) string{
		"age.yaml": {
			"a value taken away":   func(s string) string { return regexp.MustCompile(`(?m)^    token: .*\n`).ReplaceAllString(s, "") },
			"a value added":        func(s string) string { return strings.Replace(s, "stringData:\n", "stringData:\n    more: x\n", 1) },
			"a plain value":        func(s string) string { return strings.Replace(s, "name: second", "name: third", 1) },
			"one value in another": func(s string) string { all := value.FindAllString(s, 2); return strings.Replace(s, all[1], all[0], 1) },
			"a bit": func(s string) string {
				return strings.Replace(s, "password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:AAAA", 1)
			},
			"the time": func(s string) string {
				return regexp.MustCompile(`lastmodified: "20..`).ReplaceAllString(s, `lastmodified: "1999`)
			},
		},
		"age.env": {
			"a value taken away": func(s string) string { return strings.SplitN(s, "\n", 2)[1] },
			"a value added":      func(s string) string { return "MORE=x\n" + s },
		},
		"age.json": {"a value added": func(s string) string { return strings.Replace(s, "{", `{"more": "x",`, 1) }},
	} {
		for name, change := range changes {
			before := string(fixture(t, file))
			after := change(before)
			if before == after {
				t.Fatalf("%s, %s: nothing was changed", file, name)
			}
			out, err := k.Decrypt(file, []byte(after))
			if err == nil {
				t.Errorf("%s, %s: it was decrypted:\n%s", file, name, out)
				continue
			}
			for _, secret := range []string{"hunter2", "another-secret", "first line"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s, %s: the message holds what was encrypted: %v", file, name, err)
				}
			}
		}
	}
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	changed := strings.Replace(string(fixture(t, "age.yaml")), "password: ENC[AES256_GCM,data:", "password: ENC[AES256_GCM,data:AAAA", 1)
	for name, c := range map[string]struct {
		keys, file, data, want string
		line                   int
	}{
		"another key":      {"keys.asc", "age.yaml", string(fixture(t, "age.yaml")), "it is encrypted for age1", 0},
		"another pgp key":  {"keys.agekey", "pgp.yaml", string(fixture(t, "pgp.yaml")), "none of the keys opens it", 0},
		"a changed value":  {"keys.agekey", "age.yaml", changed, "stringData.password cannot be decrypted: it was changed or moved", 8},
		"an INI file":      {"keys.agekey", "x.ini", "a = ENC[AES256_GCM,data:x\n[sops]\n", "INI files", 0},
		"a cloud's key":    {"keys.agekey", "x.yaml", "a: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\nsops:\n  kms: [{arn: x}]\n", "cloud key services are not supported", 0},
		"what is not YAML": {"keys.agekey", "x.yaml", "a: [ENC[AES256_GCM,\nsops:\n", "it is no YAML", 1},
	} {
		_, err := keys(t, c.keys).Decrypt(c.file, []byte(c.data))
		var e *sops.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, c.want) || e.Line != c.line {
			t.Errorf("%s: %v at line %d, want line %d and %q", name, err, e.Line, c.line, c.want)
		}
	}
	for name, data := range map[string]map[string][]byte{
		"no key": {"readme": []byte("x")}, "no age key": {"x.agekey": []byte("AGE-SECRET-KEY-1XYZ")}, "no OpenPGP key": {"x.asc": []byte("x")},
	} {
		if _, err := sops.Parse(data); err == nil || strings.Contains(err.Error(), "1XYZ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotEncryptedStaysAsItIs(t *testing.T) {
	for name, text := range map[string]string{
		"a.yaml": "a: b\n", "b.yaml": "text: |\n  sops: ENC[AES256_GCM,data:x]\n", "c.env": "A=b\n", "d.json": `{"a": "ENC[AES256_GCM,"}`, "e.txt": "ENC[AES256_GCM,",
	} {
		if got, err := (sops.Keys{}).Decrypt(name, []byte(text)); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// FuzzDecrypt looks for files that make the decryption panic, or that pass though they were changed.
func FuzzDecrypt(f *testing.F) {
	for _, name := range []string{"age.yaml", "age.env", "age.json", "age.txt"} {
		f.Add(name, fixture(f, name))
	}
	k := keys(f, "keys.agekey")
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		out, err := k.Decrypt(name, data)
		if err == nil && sops.Encrypted(name, data) && bytes.Contains(out, []byte("sops_mac")) {
			t.Errorf("the metadata are left: %s", out)
		}
	})
}
