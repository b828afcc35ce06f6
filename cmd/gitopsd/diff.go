package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
	"github.com/gitopsd/gitopsd/internal/source"
)

func newDiffCommand() *cobra.Command {
	var c connection
	var rev string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff [NAME [REV1 REV2]]",
		Short: "Show how the cluster differs from Git, or one revision from another",
		Long: `Shows, as a unified diff of YAML, how an Application's objects in the cluster differ from what Git says: from its ref, or from another one with --ref,
which is what a merge of that would do. Only fields that Git sets count. With two revisions it shows how the objects of the second differ from those of the first, and does not look at
the cluster's objects. A revision is a branch, a tag, or a commit: by its full hash, or by the beginning of one that gitopsd history shows.
NAME may be left out when there is only one Application. Values of Secrets are not shown, only whether they differ.

Exit status: 0, or with --exit-code 2 when something differs; 1 when the command failed.`,
		Example: `  gitopsd diff                          what in the cluster is not as Git says?
  gitopsd diff shop --ref feature/api   what would merging this branch change?
  gitopsd diff shop v1.2 v1.3           what changed between these releases?`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 || len(args) > 3 {
				return errors.New("give no revision, or two: gitopsd diff NAME REV1 REV2")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			if rev != "" && len(args) > 1 {
				return errors.New("give either --ref or two revisions")
			}
			config, err := c.config()
			if err != nil {
				return err
			}
			clients, err := c.clients()
			if err != nil {
				return err
			}
			app, err := c.one(cmd.Context(), clients, args[:min(1, len(args))])
			if err != nil {
				return err
			}
			var r cli.DiffReport
			if len(args) == 3 {
				r, err = between(cmd.Context(), config, app, args[1], args[2])
			} else {
				r, err = againstLive(cmd.Context(), config, app, rev)
			}
			if err != nil {
				return err
			}
			if err := cli.WriteDiff(os.Stdout, r, format, colour(os.Stdout)); err != nil {
				return err
			}
			if code := r.ExitCode(); exitCode && code != cli.ExitInSync {
				return exitError{code}
			}
			return nil
		},
	}
	c.register(cmd.Flags())
	c.registerOutput(cmd.Flags())
	cmd.Flags().StringVar(&rev, "ref", "", "branch, tag or commit to compare with (default: what the Application follows)")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with status 2 when something differs")
	return cmd
}

// againstLive compares the cluster with a revision; empty is what the Application follows.
func againstLive(ctx context.Context, config *rest.Config, app *v1alpha1.Application, rev string) (cli.DiffReport, error) {
	var p *gitops.Preview
	var commit source.Commit
	look := func(ref v1alpha1.Ref) (err error) {
		p, commit, err = gitops.Look(ctx, config, app, ref)
		return err
	}
	var err error
	if rev == "" {
		err = look(app.Spec.Source.Ref)
	} else {
		err = eachRef(app, rev, look)
	}
	if err != nil {
		return cli.DiffReport{}, err
	}
	r := cli.DiffReport{From: "live", To: "git " + cli.Short(commit.Hash)}
	for _, s := range p.Plan() {
		if s.Action == diff.Forget || s.Action == diff.Release {
			continue
		}
		before, after := p.States(s)
		file, line := p.Where(diff.KeyOf(s.Ref), "")
		if err := r.Add(diff.KeyOf(s.Ref).String(), string(s.Action), file, line, before, after); err != nil {
			return r, err
		}
	}
	return r, nil
}

// between compares two revisions, as Git has them.
func between(ctx context.Context, config *rest.Config, app *v1alpha1.Application, from, to string) (cli.DiffReport, error) {
	var states [2][]*source.Object
	var names [2]string
	for i, rev := range []string{from, to} {
		err := eachRef(app, rev, func(ref v1alpha1.Ref) error {
			c, err := gitops.CheckOut(ctx, config, app, ref)
			if err != nil {
				return err
			}
			defer c.Close()
			names[i] = "git " + cli.Short(c.Commit.Hash)
			states[i], err = c.Objects(ctx)
			return err
		})
		if err != nil {
			return cli.DiffReport{}, err
		}
	}
	r := cli.DiffReport{From: names[0], To: names[1]}
	before := map[diff.Key]*source.Object{}
	for _, o := range states[0] {
		before[keyInGit(o)] = o
	}
	for _, o := range states[1] {
		k := keyInGit(o)
		action := string(diff.Update)
		if before[k] == nil {
			action = string(diff.Create)
		}
		if err := r.Add(k.String(), action, o.Origin.File, o.Origin.Line, inGit(before[k]), inGit(o)); err != nil {
			return r, err
		}
		delete(before, k)
	}
	for _, o := range states[0] {
		if k := keyInGit(o); before[k] != nil {
			if err := r.Add(k.String(), string(diff.Prune), "", 0, inGit(o), nil); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

func keyInGit(o *source.Object) diff.Key {
	gvk := o.GroupVersionKind()
	return diff.Key{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.Namespace(), Name: o.Name()}
}

func inGit(o *source.Object) *unstructured.Unstructured {
	if o == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: o.Content}
}

// eachRef calls f with what a revision can mean, until one is there: a commit, the beginning of one that history knows, a branch, a tag.
func eachRef(app *v1alpha1.Application, rev string, f func(v1alpha1.Ref) error) error {
	if commit, ok := commitOf(app, rev); ok {
		return f(v1alpha1.Ref{Commit: commit})
	}
	err := f(v1alpha1.Ref{Branch: rev})
	if source.ReasonOf(err) != source.RefNotFound {
		return err
	}
	if terr := f(v1alpha1.Ref{Tag: rev}); source.ReasonOf(terr) != source.RefNotFound {
		return terr
	}
	return fmt.Errorf("%s is no branch, tag, full commit hash, or commit that gitopsd history shows (%w)", rev, err)
}

// commitOf is the revision that a full hash, the beginning of one that history knows, or a version of a chart means.
func commitOf(app *v1alpha1.Application, rev string) (string, bool) {
	if app.Spec.Source.RepoURL == "" {
		return rev, true // the version of a chart
	}
	if strings.Trim(rev, "0123456789abcdef") != "" {
		return "", false
	}
	if len(rev) == 40 {
		return rev, true
	}
	if len(rev) < minHash {
		return "", false
	}
	s := &app.Status
	known := []string{s.WantedRevision, s.AppliedRevision, s.HealthyRevision}
	for _, h := range s.History {
		known = append(known, h.Revision)
	}
	for _, k := range known {
		if strings.HasPrefix(k, rev) {
			return k, true
		}
	}
	return "", false
}

// minHash is how much of a commit's hash has to be given, as in Git.
const minHash = 4
