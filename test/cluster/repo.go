package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// firstCommit makes the repository and a clone of it, and pushes what it begins with.
func (c *Cluster) firstCommit(ctx context.Context) error {
	work := c.Worktree()
	if from := c.rec.Options.Repo; from != "" {
		if err := os.CopyFS(work, os.DirFS(from)); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	} else {
		if err := os.MkdirAll(filepath.Join(work, "deploy"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(work, "deploy", "README.md"), []byte("Manifests go here.\n"), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"config", "user.name", "demo"}, {"config", "user.email", "demo@example.com"},
		{"config", "http.proxy", ""}, {"config", "commit.gpgsign", "false"},
		{"remote", "add", "origin", c.GitURL()},
	} {
		if _, err := c.Git(ctx, args...); err != nil {
			return err
		}
	}
	err := until(ctx, "the Git server (see "+c.LogFile(Git)+")", func() error {
		if !c.Running(Git) {
			return errNotRunning
		}
		_, err := c.Git(ctx, "ls-remote", "--quiet", "origin")
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.Push(ctx, "first commit")
	return err
}

// Worktree is a clone of the repository, ready for changes and for Push.
func (c *Cluster) Worktree() string { return filepath.Join(c.rec.Dir, "worktree") }

// Git runs git in the worktree, inside the outer namespace.
func (c *Cluster) Git(ctx context.Context, args ...string) (string, error) {
	out, err := c.Output(ctx, "git", append([]string{"-C", c.Worktree()}, args...)...)
	return strings.TrimSpace(out), err
}

// ErrNothingToCommit says that the worktree is as the last commit left it.
var ErrNothingToCommit = errors.New("nothing to commit")

// Push commits all that changed in the worktree, pushes it, and returns the commit.
func (c *Cluster) Push(ctx context.Context, message string) (string, error) {
	if _, err := c.Git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	if changed, err := c.Git(ctx, "status", "--porcelain"); err != nil {
		return "", err
	} else if changed == "" {
		return "", ErrNothingToCommit
	}
	for _, args := range [][]string{{"commit", "--quiet", "--message", message}, {"push", "--quiet", "--set-upstream", "origin", "main"}} {
		if _, err := c.Git(ctx, args...); err != nil {
			return "", err
		}
	}
	return c.Git(ctx, "rev-parse", "HEAD")
}
