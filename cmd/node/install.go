package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gitopsd/gitopsd/internal/kubelet/unit"
)

const installUsage = `Usage: node install [--root DIR] [-- FLAGS OF THE DAEMON]

Have systemd run the node daemon on this host, now and whenever it boots, with the flags after --:

    node install -- --server https://10.0.0.1:6443 --token-file /root/token

What is written is said: the program, a unit file, and a file with the flags. Run again, it replaces them, and restarts the
daemon; containers run on. A token is written nowhere: it is needed for the first start only, and --token-file names the
file that has it.
`

const uninstallUsage = `Usage: node uninstall [--root DIR]

Undo 'node install': the daemon is stopped and systemd forgets it. Containers run on; 'node clean' removes them, and must
come before this one, as the program goes too.
`

// install writes the unit and starts it.
func install(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("node install", pflag.ContinueOnError)
	root := f.String("root", "/", "directory to install into; another than / is for making an image of a host, where nothing is started")
	own, daemon := args, []string(nil)
	for i, a := range args {
		if a == "--" {
			own, daemon = args[:i], args[i+1:]
			break
		}
	}
	if err := parse(f, installUsage, own); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	for _, a := range daemon {
		if a == "--token" || strings.HasPrefix(a, "--token=") {
			return errors.New("--token: would stay in a file that describes a service; put it into a file of its own and give --token-file")
		}
	}
	// The daemon's own look at its flags comes now, and not as a service that does not start.
	cfg, _, err := daemonConfig(daemon)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	if dir == "/" { // in an image the token is not there yet, or it would be everybody's
		if err := cfg.ReadToken(); err != nil {
			return err
		}
	}
	written, err := unit.Install(ctx, unit.Options{Root: dir, Program: self, Flags: daemon})
	for _, w := range written {
		fmt.Println(w)
	}
	return err
}

// uninstall takes back what install did.
func uninstall(ctx context.Context, args []string) error {
	f := pflag.NewFlagSet("node uninstall", pflag.ContinueOnError)
	root := f.String("root", "/", "directory that it was installed into")
	if err := parse(f, uninstallUsage, args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	removed, err := unit.Uninstall(ctx, unit.Options{Root: dir})
	for _, r := range removed {
		fmt.Println(r)
	}
	return err
}
