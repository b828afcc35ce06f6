package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/cli"
)

func newHistoryCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "history [NAME]",
		Short: "Show the last commits that were applied, refused or rolled back",
		Long: `Shows the last ten things that happened to an Application, newest first: which commit, what set it off, what it changed, and how it ended.
CHANGES counts objects: + created, ~ updated, - pruned, = unchanged. NAME may be left out when there is only one Application.`,
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
			app, err := c.one(cmd.Context(), clients, args)
			if err != nil {
				return err
			}
			return cli.WriteHistory(os.Stdout, app, format, time.Now(), colour(os.Stdout))
		},
	}
	c.register(cmd.Flags())
	c.registerOutput(cmd.Flags())
	return cmd
}
