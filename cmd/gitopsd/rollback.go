package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
)

func newRollbackCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "rollback NAME [REV]",
		Short: "Apply an earlier commit until Git moves on",
		Long: `Has an earlier commit applied in the place of the one at the ref, until something is pushed or gitopsd sync asks for Git again. Nothing is changed in Git: a
revert there is what lasts. REV is a full commit hash, or the beginning of one that gitopsd history shows; without it, it is the commit that was applied before
the present one. Drift, health and pruning go by the earlier commit meanwhile.

Exit status: 0 the rollback was asked for, 1 the command failed.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			clients, err := c.clients()
			if err != nil {
				return err
			}
			app, err := c.one(cmd.Context(), clients, args[:1])
			if err != nil {
				return err
			}
			to := cli.Previous(app)
			if len(args) == 2 {
				known := false
				if to, known = commitOf(app, args[1]); !known {
					return fmt.Errorf("%s is no full commit hash and not the beginning of one that gitopsd history %s shows", args[1], app.Name)
				}
			}
			from := app.Status.WantedRevision
			switch {
			case to == "":
				return fmt.Errorf("%s/%s has no earlier commit in its history; name one", app.Namespace, app.Name)
			case from == "":
				return errors.New("gitopsd has not read the repository yet; gitopsd status says why")
			case to == from:
				return fmt.Errorf("%s is what the source says; gitopsd sync %s applies it", cli.Revision(to), app.Name)
			case app.Spec.Suspend:
				return fmt.Errorf("%s/%s is suspended; gitopsd resume %s first", app.Namespace, app.Name, app.Name)
			}
			note, err := json.Marshal(v1alpha1.Rollback{To: to, From: from})
			if err != nil {
				return err
			}
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationRollback: string(note)}}})
			if err != nil {
				return err
			}
			if _, err := clients.In(app.Namespace).Patch(cmd.Context(), app.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gitopsd-rollback"}); err != nil {
				return explainAPI(err)
			}
			fmt.Printf("%s/%s: %s in the place of %s, until a push or gitopsd sync; gitopsd status %s shows the outcome\n", app.Namespace, app.Name, cli.Revision(to), cli.Short(from), app.Name)
			return nil
		},
	}
	c.register(cmd.Flags())
	return cmd
}

// newSuspendCommand makes suspend and resume.
func newSuspendCommand(suspend bool) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "suspend NAME",
		Short: "Leave an Application alone: nothing is fetched, applied, reverted or denied",
		Long: `Sets spec.suspend of an Application, so that gitopsd fetches, applies, reverts and denies nothing of it until gitopsd resume. What runs goes on running.
If the Application itself comes from Git with spec.suspend in it, change it there.

Exit status: 0, or 1 when the command failed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			clients, err := c.clients()
			if err != nil {
				return err
			}
			app, err := c.one(cmd.Context(), clients, args)
			if err != nil {
				return err
			}
			patch := fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, suspend)
			if _, err := clients.In(app.Namespace).Patch(cmd.Context(), app.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gitopsd-" + cmd.Name()}); err != nil {
				return explainAPI(err)
			}
			state := "goes on"
			if suspend {
				state = "is suspended"
			}
			fmt.Printf("%s/%s %s\n", app.Namespace, app.Name, state)
			return nil
		},
	}
	if !suspend {
		cmd.Use, cmd.Short = "resume NAME", "End what gitopsd suspend began"
		cmd.Long = `Unsets spec.suspend of an Application: gitopsd looks at Git, applies what it missed, and does about drift what spec.drift says.

Exit status: 0, or 1 when the command failed.`
	}
	c.register(cmd.Flags())
	return cmd
}
