package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/client"
)

func newSyncCommand() *cobra.Command {
	var c connection
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "sync [NAME]",
		Short: "Have gitopsd look at Git now",
		Long: `Has gitopsd look at an Application's repository now, instead of at the next webhook or poll, and try again what was refused or rolled back. It
ends what gitopsd rollback began.
NAME may be left out when there is only one Application.

With --wait the command returns when the commit at the ref is applied and healthy, or when it is certain that it will not be. Exit status: 0 applied and
healthy, 1 the command failed, 2 refused or not applied, 3 applied but not healthy.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			clients, err := c.clients()
			if err != nil {
				return err
			}
			app, err := c.one(cmd.Context(), clients, args)
			if err != nil {
				return err
			}
			request := time.Now().UTC().Format(time.RFC3339Nano)
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{
				v1alpha1.AnnotationRequestedAt: request, v1alpha1.AnnotationRollback: nil, // a rollback holds until somebody asks for Git again
			}}})
			if err != nil {
				return err
			}
			apps := clients.In(app.Namespace)
			if _, err := apps.Patch(cmd.Context(), app.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gitopsd-sync"}); err != nil {
				return explainAPI(err)
			}
			if !wait {
				fmt.Printf("%s/%s: asked for a look at Git; gitopsd status %s shows the outcome\n", app.Namespace, app.Name, app.Name)
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return follow(ctx, apps, app.Name, request)
		},
	}
	c.register(cmd.Flags())
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the outcome, and show it")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait")
	return cmd
}

// follow prints what becomes of a request until it has an outcome.
func follow(ctx context.Context, apps client.Applications, name, request string) error {
	selector := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	said := ""
	for ctx.Err() == nil {
		w, err := apps.Watch(ctx, selector)
		if err != nil {
			return explainAPI(err)
		}
		for e := range w.ResultChan() {
			app, ok := e.Object.(*v1alpha1.Application)
			if !ok {
				break // the watch ended with an error; a new one begins with the present state
			}
			if e.Type == watch.Deleted {
				w.Stop()
				return fmt.Errorf("the Application %s was deleted", name)
			}
			line, code, done := cli.Progress(app, request)
			if line != said {
				fmt.Println(line)
				said = line
			}
			if done {
				w.Stop()
				if code == cli.ExitInSync {
					return nil
				}
				r := cli.NewReport([]v1alpha1.Application{*app})
				if err := cli.WriteStatus(os.Stdout, r, cli.Table, time.Now(), colour(os.Stdout)); err != nil {
					return err
				}
				return exitError{code}
			}
		}
		w.Stop()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no outcome in time; gitopsd status shows how far it is")
	}
	return ctx.Err()
}
