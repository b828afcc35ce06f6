package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitopsd/gitopsd/internal/cli"
)

// answersWithin is how long status waits for an answer: whoever asks how things are wants to know that there is none.
const answersWithin = 10 * time.Second

func newStatusCommand() *cobra.Command {
	var c connection
	var exitCode, tree, watch bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show what is applied, whether it is what Git says, and whether it works",
		Long: `Shows for each Application the commit that is applied, whether the cluster is as Git says, and whether its objects are healthy.
Below, for whatever is not: the message with file and line, since when, what is being done, each field that differs with its value in Git and in the cluster, who
changed it and when, where in Git it is set, and what to do next. Nodes that are not ready are named first.

With --tree also the objects, and below them the ReplicaSets, Jobs, Pods and containers, each with its health and the reason. With --watch it is shown again
whenever anything of it changes, until interrupted.

If the control plane does not answer, it says what is known from the kubeconfig and, on the control plane's machine, from its data directory.

Exit status: 0, or 1 when the command failed or the control plane does not answer. With --exit-code: 0 everything is as Git says and healthy, 1 as before, 2 something
differs from Git, was refused or is not applied yet, or Git cannot be read, 3 as Git says but not healthy.`,
		Example: `  gitopsd status
  gitopsd status shop --tree --watch`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			v, err := c.view(args, tree)
			if err != nil {
				return err
			}
			if watch {
				return v.watch(cmd.Context(), func(r cli.Report, err error) error { return c.redraw(format, r, err) })
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), answersWithin)
			defer cancel()
			r, err := v.read(ctx)
			if silent(err) {
				if werr := cli.WriteOutage(os.Stdout, c.outage(v.config, err), format, time.Now(), colour(os.Stdout)); werr != nil {
					return werr
				}
				return exitError{cli.ExitError}
			}
			if err != nil {
				return err
			}
			if err := cli.WriteStatus(os.Stdout, r, format, time.Now(), colour(os.Stdout)); err != nil {
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
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "say by the exit status whether everything is in sync and healthy")
	cmd.Flags().BoolVar(&tree, "tree", false, "show the objects, and what stands below them down to the containers")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever something changes")
	return cmd
}

// redraw shows a state in the place of the one before: on a terminal at the same place, elsewhere one after the other.
func (c *connection) redraw(format cli.Format, r cli.Report, err error) error {
	var b bytes.Buffer
	now := time.Now()
	switch {
	case err != nil:
		fmt.Fprintf(&b, "%s  no news from the control plane: %v\nWhat follows is what was known before.\n\n", now.Format(time.TimeOnly), err)
	case format == cli.Table:
		fmt.Fprintf(&b, "%s\n\n", now.Format(time.TimeOnly))
	}
	if err := cli.WriteStatus(&b, r, format, now, colour(os.Stdout)); err != nil {
		return err
	}
	if colour(os.Stdout) {
		b = *bytes.NewBuffer(append([]byte(clearScreen), b.Bytes()...))
	} else if format == cli.YAML {
		b = *bytes.NewBuffer(append([]byte("---\n"), b.Bytes()...))
	}
	_, werr := os.Stdout.Write(b.Bytes())
	return werr
}

// clearScreen puts the cursor at the top and forgets what is below (ECMA-48: CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

// silent says whether an error means that the control plane does not answer, rather than that it refused.
func silent(err error) bool {
	if err == nil {
		return false
	}
	if apierrors.ReasonForError(err) == "" {
		return true // not an answer of the API
	}
	return apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err)
}
