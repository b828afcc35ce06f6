package source_test

import (
	"strings"
	"testing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
	"github.com/gitopsd/gitopsd/internal/source/verify"
)

func verification(t *testing.T, mode v1alpha1.VerifyMode, signers ...*gittest.Signer) *source.Verification {
	t.Helper()
	data := map[string][]byte{}
	for _, s := range signers {
		data[s.Name] = append(data[s.Name], s.Public...)
	}
	keys, err := verify.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return &source.Verification{Keys: keys, Mode: mode, Secret: "gitopsd-system/keys"}
}

func TestOnlyWhatIsSignedByTheRightKeyIsTaken(t *testing.T) {
	ed25519, rsa, ecdsa, stranger := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "rsa"), gittest.NewSSHSigner(t, "ecdsa"), gittest.NewSSHSigner(t, "ed25519")
	pgp, pgpStranger := gittest.NewOpenPGPSigner(t), gittest.NewOpenPGPSigner(t)
	repo := gittest.New(t)
	server := repo.Serve(t, false)
	trusted := verification(t, "", ed25519, rsa, ecdsa, pgp)
	for _, c := range []struct {
		name   string
		signer *gittest.Signer
		want   string // of the signer, or of the error
		ok     bool
	}{
		{"nobody", nil, "it is not signed", false},
		{"an ed25519 key", ed25519, "ssh key SHA256:", true},
		{"an RSA key", rsa, "ssh key SHA256:", true},
		{"an ECDSA key", ecdsa, " of ada@example.com", true},
		{"a stranger's ssh key", stranger, "it is signed by the ssh key SHA256:", false},
		{"an OpenPGP key", pgp, " of Ada <ada@example.com>", true},
		{"a stranger's OpenPGP key", pgpStranger, "it is signed by the OpenPGP key ", false},
	} {
		var commit string
		if c.signer == nil {
			commit = repo.Push(map[string]string{"deploy/a.yaml": c.name})
		} else {
			commit = repo.PushSigned(c.signer, map[string]string{"deploy/a.yaml": c.name})
		}
		for _, url := range []string{repo.URL(), server.Repo()} {
			head, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: url, Verify: trusted})
			switch {
			case c.ok && (err != nil || !strings.Contains(head.Signer, c.want)):
				t.Errorf("signed by %s: signer %q, %v", c.name, head.Signer, err)
			case !c.ok && (source.ReasonOf(err) != source.Unverified || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), commit) || !strings.Contains(err.Error(), "gitopsd-system/keys")):
				t.Errorf("signed by %s: %v", c.name, err)
			}
		}
	}
}

func TestASignatureDoesNotFitAnotherCommit(t *testing.T) {
	for name, signer := range map[string]*gittest.Signer{"ssh": gittest.NewSSHSigner(t, "ed25519"), "OpenPGP": gittest.NewOpenPGPSigner(t)} {
		t.Run(name, func(t *testing.T) {
			repo := gittest.New(t)
			commit := repo.PushSigned(signer, two)
			keys := verification(t, "", signer).Keys
			raw := []byte(repo.Git("cat-file", "commit", commit) + "\n")
			if _, err := keys.Commit(raw); err != nil {
				t.Fatalf("as it was signed: %v", err)
			}
			for _, change := range [][2]string{{"Change the manifests", "Change the manifest"}, {"\nauthor Ada", "\nauthor Eve"}, {"\ntree ", "\ntree 0"}} {
				forged := strings.Replace("\n"+string(raw), change[0], change[1], 1)[1:]
				if forged == string(raw) {
					t.Fatalf("nothing was changed by %q", change)
				}
				if who, err := keys.Commit([]byte(forged)); err == nil {
					t.Errorf("with %q for %q it is still signed by %s", change[1], change[0], who)
				}
			}
		})
	}
}

func TestTagsAreVerifiedWhereThatIsWanted(t *testing.T) {
	ssh, pgp, stranger := gittest.NewSSHSigner(t, "ed25519"), gittest.NewOpenPGPSigner(t), gittest.NewSSHSigner(t, "ed25519")
	repo := gittest.New(t)
	server := repo.Serve(t, false)
	first := repo.Push(two)
	repo.TagSigned(ssh, "v1.0.0", first)
	repo.TagSigned(pgp, "v1.1.0", first)
	repo.TagSigned(stranger, "v1.2.0", first)
	repo.Git("tag", "-a", "-m", "x", "unsigned", first)
	repo.Git("tag", "light", first)
	for _, url := range []string{repo.URL(), server.Repo()} {
		g := source.New(t.TempDir())
		// The commit is in the store before any of its tags is.
		if _, err := g.Head(t.Context(), source.Request{URL: url}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			ref  v1alpha1.Ref
			mode v1alpha1.VerifyMode
			want string // of the error
		}{
			{v1alpha1.Ref{Tag: "v1.0.0"}, v1alpha1.VerifyTag, ""},
			{v1alpha1.Ref{Tag: "v1.1.0"}, v1alpha1.VerifyTag, ""},
			{v1alpha1.Ref{SemVer: "<1.2.0"}, v1alpha1.VerifyTag, ""},
			{v1alpha1.Ref{Tag: "v1.2.0"}, v1alpha1.VerifyTag, "not among those"},
			{v1alpha1.Ref{Tag: "unsigned"}, v1alpha1.VerifyTag, "it is not signed"},
			{v1alpha1.Ref{Tag: "light"}, v1alpha1.VerifyTag, "no annotated tag"},
			{v1alpha1.Ref{}, v1alpha1.VerifyTag, "no annotated tag"},
			{v1alpha1.Ref{Tag: "v1.0.0"}, v1alpha1.VerifyCommitAndTag, "commit " + first},
		} {
			_, err := g.Head(t.Context(), source.Request{URL: url, Ref: c.ref, Verify: verification(t, c.mode, ssh, pgp)})
			if c.want == "" && err != nil || c.want != "" && (source.ReasonOf(err) != source.Unverified || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %s: %v; want %q", c.ref, c.mode, err, c.want)
			}
		}
	}
}

func TestKeysThatCannotBeReadSayWhichAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		data map[string][]byte
		want string
	}{
		"nothing":             {nil, "no key"},
		"an OpenPGP key":      {map[string][]byte{"ada.asc": []byte("x")}, "ada.asc holds no OpenPGP public key"},
		"an ssh key":          {map[string][]byte{"ada": []byte("# comment\nssh-ed25519 AAAA")}, "ada, line 2: "},
		"an unknown option":   {map[string][]byte{"ada": []byte(`ada@example.com cert-authority ssh-ed25519 AAAA`)}, `"cert-authority" is not supported`},
		"another's namespace": {map[string][]byte{"ada": []byte(`ada@example.com namespaces="file" ssh-ed25519 AAAA`)}, "is not supported"},
	} {
		if _, err := verify.Parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzSignature looks for objects that make the checks panic, or that pass without the signature of the key.
func FuzzSignature(f *testing.F) {
	f.Add([]byte("tree x\nauthor y\ngpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lH\n -----END SSH SIGNATURE-----\n\nmessage\n"))
	f.Add([]byte("object x\ntype commit\n\nmessage\n-----BEGIN PGP SIGNATURE-----\n\nwsBcBAABCAAQBQJk\n-----END PGP SIGNATURE-----\n"))
	keys, err := verify.Parse(map[string][]byte{"a": []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBuBz7YlrWdLz9fUdYFtZZNZyqQbGKXQJ0gLvUVYxCC a")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if who, err := keys.Commit(raw); err == nil {
			t.Errorf("signed by %s", who)
		}
		if who, err := keys.Tag(raw); err == nil {
			t.Errorf("signed by %s", who)
		}
	})
}
