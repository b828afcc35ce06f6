package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func newPlanCommand() *cobra.Command {
	var c connection
	var folder string
	var ref v1alpha1.Ref
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "plan [NAME]",
		Short: "Show what applying a folder or another branch would do, without doing it",
		Long: `Shows what would be created, updated and pruned, field by field, and what the control plane would refuse, if a folder on this machine (--path) or
another branch, tag or commit of the Application's repository took the place of what the Application has now. Nothing is changed.
NAME may be left out when there is only one Application. Values of Secrets are not shown.

Exit status: 0, or with --exit-code 2 when something would change; 1 when the commit would be refused or the command failed.`,
		Example: `  gitopsd plan --path deploy/production          what would my working copy do?
  gitopsd plan shop --branch feature/new-api     what would merging this branch do?`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			if folder != "" && ref != (v1alpha1.Ref{}) {
				return errors.New("give either --path or one of --branch, --tag and --commit")
			}
			config, err := c.config()
			if err != nil {
				return err
			}
			clients, err := c.clients()
			if err != nil {
				return err
			}
			app, err := c.one(cmd.Context(), clients, args)
			if err != nil {
				return err
			}
			if ref == (v1alpha1.Ref{}) {
				ref = app.Spec.Source.Ref
			}
			var p *gitops.Preview
			if folder != "" {
				p, err = gitops.PreviewFolder(cmd.Context(), config, app, folder)
			} else {
				p, err = gitops.PreviewRef(cmd.Context(), config, app, ref)
			}
			if err != nil && !gitops.Refused(err) {
				return err
			}
			r := cli.NewPlanReport(nil, nil, err)
			if p != nil {
				r = cli.NewPlanReport(p.Plan(), p.Where, err)
			}
			if err := cli.WritePlan(os.Stdout, r, format, colour(os.Stdout)); err != nil {
				return err
			}
			if code := r.ExitCode(); code == cli.ExitError || exitCode && code != cli.ExitInSync {
				return exitError{code}
			}
			return nil
		},
	}
	c.register(cmd.Flags())
	c.registerOutput(cmd.Flags())
	cmd.Flags().StringVar(&folder, "path", "", "folder on this machine")
	cmd.Flags().StringVar(&ref.Branch, "branch", "", "branch of the Application's repository")
	cmd.Flags().StringVar(&ref.Tag, "tag", "", "tag of the Application's repository")
	cmd.Flags().StringVar(&ref.Commit, "commit", "", "commit of the Application's repository, by its full hash")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with status 2 when something would change")
	return cmd
}
