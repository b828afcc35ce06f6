package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/cli"
)

func newStatusCommand() *cobra.Command {
	var c connection
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show what is applied, whether it is what Git says, and whether it works",
		Long: `Shows for each Application the commit that is applied, whether the cluster is as Git says, and whether its objects are healthy.
Below, for whatever is not: the message with file and line, each field that differs with its value in Git and in the cluster, who
changed it and when, and where in Git it is set.

Exit status with --exit-code: 0 everything is as Git says and healthy, 1 the command failed, 2 something differs from Git, was refused or is not
applied yet, 3 as Git says but not healthy.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			clients, err := c.clients()
			if err != nil {
				return err
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			apps, err := c.list(cmd.Context(), clients, name)
			if err != nil {
				return err
			}
			r := cli.NewReport(apps)
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
	return cmd
}
