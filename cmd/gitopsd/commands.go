package main

import "github.com/spf13/cobra"

// commands are those that ask a running control plane.
func commands() []*cobra.Command {
	return []*cobra.Command{newStatusCommand(), newSyncCommand(), newHistoryCommand(), newRollbackCommand(), newSuspendCommand(true), newSuspendCommand(false), newPlanCommand(), newDiffCommand(), newBlameCommand(), newWhyCommand(), newVolumeCommand()}
}
