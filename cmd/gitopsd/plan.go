package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/forecast"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func newPlanCommand() *cobra.Command {
	var c connection
	var folder string
	var ref v1alpha1.Ref
	var rev, schedulerConfig string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "plan [NAME]",
		Short: "Show what applying a folder or another branch would do, without doing it",
		Long: `Shows what would be created, updated and pruned, field by field, and what the control plane would refuse, if a folder on this machine (--path) or
another branch, tag or commit of the Application's repository took the place of what the Application has now. Nothing is changed.
What would lose data, such as the deletion of a claim or of a namespace, says so. A forecast tells which Pods of new and changed workloads would find no node, why, and
what would help: it asks the scheduler's own filters about the cluster as it is at the moment.
NAME may be left out when there is only one Application. Values of Secrets are not shown.

Exit status: 0, or with --exit-code 2 when something would change; 1 when the commit would be refused or the command failed.`,
		Example: `  gitopsd plan --path deploy/production          what would my working copy do?
  gitopsd plan shop --ref feature/new-api        what would merging this branch do?`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			given := 0
			for _, v := range []string{folder, rev, ref.Branch, ref.Tag, ref.Commit} {
				if v != "" {
					given++
				}
			}
			if given > 1 {
				return errors.New("give one of --path, --ref, --branch, --tag and --commit")
			}
			profiles, err := profile.Load(schedulerConfig)
			if err != nil {
				return err
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
			look := func(ref v1alpha1.Ref) (err error) {
				p, err = gitops.PreviewRef(cmd.Context(), config, app, ref)
				return err
			}
			switch {
			case folder != "":
				p, err = gitops.PreviewFolder(cmd.Context(), config, app, folder)
			case rev != "":
				err = eachRef(app, rev, look)
			default:
				err = look(ref)
			}
			if err != nil && !gitops.Refused(err) {
				return err
			}
			r := cli.NewPlanReport(nil, nil, nil, err)
			if p != nil {
				if r, err = planned(cmd.Context(), config, app, p, profiles, err); err != nil {
					return err
				}
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
	cmd.Flags().StringVar(&rev, "ref", "", "branch, tag or commit of the Application's repository")
	cmd.Flags().StringVar(&schedulerConfig, "scheduler-config", "", "the file that gitopsd serve was given as --scheduler-config")
	cmd.Flags().StringVar(&ref.Branch, "branch", "", "branch of the Application's repository")
	cmd.Flags().StringVar(&ref.Tag, "tag", "", "tag of the Application's repository")
	cmd.Flags().StringVar(&ref.Commit, "commit", "", "commit of the Application's repository, by its full hash")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with status 2 when something would change")
	return cmd
}

// planned makes the report of a preview, with the forecast of where its Pods would go; refusal is what the dry run found.
func planned(ctx context.Context, config *rest.Config, app *v1alpha1.Application, p *gitops.Preview, profiles profile.Config, refusal error) (cli.PlanReport, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return cli.PlanReport{}, err
	}
	world, err := why.Load(ctx, clients)
	if err != nil {
		return cli.PlanReport{}, explainAPI(err)
	}
	var changes []forecast.Change
	for _, s := range p.Plan() {
		k := diff.KeyOf(s.Ref)
		ch := forecast.Change{Name: k.String(), Before: p.Live(k)}
		switch s.Action {
		case diff.Create:
			_, ch.After = p.States(s)
		case diff.Update:
			ch.After = diff.After(ch.Before, s.Fields)
		case diff.Prune:
		default:
			continue
		}
		changes = append(changes, ch)
	}
	claims, err := clients.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return cli.PlanReport{}, explainAPI(err)
	}
	held := map[string]int{}
	for _, c := range claims.Items {
		held[c.Namespace]++
	}
	r := cli.NewPlanReport(p.Plan(), p.Where, held, refusal)
	r.Omitted = p.Omitted()
	for _, w := range p.Waiting() {
		r.Waiting = append(r.Waiting, w.Error())
	}
	if refusal != nil {
		return r, nil // nothing of it would be applied
	}
	gone, workloads, err := forecast.Load(ctx, clients, world, changes, app.Namespace)
	if err != nil {
		return r, err
	}
	r.Forecast = forecast.Make(world, gone, workloads, profiles)
	return r, nil
}
