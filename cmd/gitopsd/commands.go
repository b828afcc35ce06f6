package main

import "github.com/spf13/cobra"

// commands are those of the GitOps engine.
func commands() []*cobra.Command { return nil }
