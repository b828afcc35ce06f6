package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/internal/controlplane/backup"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

func newBackupCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the control plane's state and keys to a file",
		Long: `Copies the control plane's state (etcd) and keys to a file, from which gitopsd restore makes a control plane again. It runs on the control plane's host, whether
that runs or not. The file holds every Secret's key: keep it as you keep those. The data of volumes is not in it.`,
		Example: `  gitopsd backup /srv/backup/gitopsd-$(date +%F).tar`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := controlPlaneDir(dir)
			if !readable(adminKubeconfig(dir)) {
				return fmt.Errorf("no control plane has worked in %s; say where it does with --data-dir", dir)
			}
			s, err := takeBackup(cmd.Context(), dir, args[0])
			if err != nil {
				return fmt.Errorf("backup of %s: %w", dir, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: the state at revision %d, %s\n", args[0], s.Revision, humanize.IBytes(uint64(s.Bytes)))
			return err
		},
	}
	c.Flags().StringVar(&dir, "data-dir", defaultDataDir, "the control plane's data directory")
	return c
}

// takeBackup asks the etcd of a control plane that runs, and runs it itself where none does.
func takeBackup(ctx context.Context, dir, file string) (etcd.Status, error) {
	if unlock, err := serve.Lock(dir); err == nil {
		defer unlock()
		if at := filepath.Join(dir, "etcd"); !etcd.Begun(at) {
			return etcd.Status{}, fmt.Errorf("there is no state in %s", at) // one that is begun here would be taken for it
		}
		m, err := etcd.Start(ctx, filepath.Join(dir, "etcd"))
		if err != nil {
			return etcd.Status{}, err
		}
		defer m.Close()
	}
	return backup.Write(ctx, dir, file)
}

func newRestoreCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a control plane of what gitopsd backup wrote",
		Long: `Makes a data directory one with the state and the keys of a backup. The control plane must not run; start it afterwards. Pods run on meanwhile. What was in etcd before is
kept beside, and keys are never replaced by others.`,
		Example: `  systemctl stop gitopsd && gitopsd restore /srv/backup/gitopsd-2026-11-28.tar && systemctl start gitopsd`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := controlPlaneDir(dir)
			unlock, err := serve.Lock(dir)
			if err != nil {
				return err
			}
			defer unlock()
			r, err := backup.Restore(dir, args[0], time.Now())
			if err != nil {
				return fmt.Errorf("restore into %s: %w", dir, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s has the state of %s; start the control plane now\n", dir, r.Taken.Local().Format(time.RFC1123))
			if r.Before != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "what was there before is in %s; remove it when you are content\n", r.Before)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "data-dir", defaultDataDir, "the control plane's data directory")
	return c
}
