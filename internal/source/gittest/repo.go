package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Repo is a bare repository with a work tree next to it to commit from.
type Repo struct {
	t testing.TB
	// Bare is the path of the bare repository.
	Bare string
	work string
	// signer signs what is committed and tagged; nil for nobody.
	signer *Signer
}

// New makes an empty repository whose branch is main. It skips the test where there is no git binary, because a real git is what the code has to
// get along with.
func New(t testing.TB) *Repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed; apt-get install git")
	}
	dir := t.TempDir()
	r := &Repo{t: t, Bare: filepath.Join(dir, "acme", "repo.git"), work: filepath.Join(dir, "work")}
	r.run(dir, "init", "-q", "--bare", "-b", "main", r.Bare)
	r.run(dir, "init", "-q", "-b", "main", r.work)
	r.run(r.work, "remote", "add", "origin", r.Bare)
	return r
}

// URL is the file URL of the repository.
func (r *Repo) URL() string { return "file://" + r.Bare }

// Push makes the work tree hold just the given files, commits, pushes to main, and returns the commit's hash. A content that begins
// with "-> " is a symbolic link to what follows.
func (r *Repo) Push(files map[string]string) string {
	r.t.Helper()
	return r.push(files, "main", false)
}

// PushTo is Push to another branch.
func (r *Repo) PushTo(branch string, files map[string]string) string {
	r.t.Helper()
	return r.push(files, branch, false)
}

// PushModule is Push with a submodule at a path, which stays at a commit of the repository at a URL.
func (r *Repo) PushModule(files map[string]string, path, url, commit string) string {
	r.t.Helper()
	files[".gitmodules"] = "[submodule \"" + path + "\"]\n\tpath = " + path + "\n\turl = " + url + "\n"
	r.write(files)
	r.run(r.work, "add", "-A")
	r.run(r.work, "update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	return r.commit("main", false)
}

// Rewrite replaces main by a single new commit that has no history in common with what was there: a force-push.
func (r *Repo) Rewrite(files map[string]string) string {
	r.t.Helper()
	r.run(r.work, "checkout", "-q", "--orphan", "rewritten")
	hash := r.push(files, "main", true)
	r.run(r.work, "branch", "-q", "-M", "main")
	return hash
}

func (r *Repo) push(files map[string]string, branch string, force bool) string {
	r.t.Helper()
	r.write(files)
	r.run(r.work, "add", "-A")
	return r.commit(branch, force)
}

// write makes the work tree hold just the given files.
func (r *Repo) write(files map[string]string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.work)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".git" {
			if err := os.RemoveAll(filepath.Join(r.work, e.Name())); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for name, content := range files {
		full := filepath.Join(r.work, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(to, full)
		} else {
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// commit commits what is in the index and pushes it.
func (r *Repo) commit(branch string, force bool) string {
	r.t.Helper()
	sign := "--no-gpg-sign"
	if r.signer != nil {
		sign = "--gpg-sign"
	}
	r.run(r.work, "commit", "-q", sign, "--allow-empty", "-m", "Change the manifests\n\nWith a body.")
	args := []string{"push", "-q", "origin", "HEAD:refs/heads/" + branch}
	if force {
		args = append(args, "--force")
	}
	r.run(r.work, args...)
	return r.run(r.work, "rev-parse", "HEAD")
}

// Git runs a git command in the bare repository and returns its output.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	return r.run(r.Bare, args...)
}

func (r *Repo) run(dir string, args ...string) string {
	r.t.Helper()
	env := os.Environ()
	if r.signer != nil {
		args, env = append(slices.Clone(r.signer.config), args...), append(env, r.signer.env...)
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(env,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
