// Command node is the node daemon of gitopsd: it joins this host to a cluster and runs its Pods.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/component-base/version"
)

// release is set by the linker.
var release = "dev"

// A command is what the first argument selects. There is no command library here: the usual one brings text/template with it,
// which keeps the linker from leaving out any method of any type and makes this program, and its share of memory, nearly twice as large.
type command struct {
	name  string
	usage string // empty: the daemon starts it itself, nobody else should
	run   func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"", runUsage, run},
		{"status", statusUsage, status},
		{"images", imagesUsage, manageImages},
		{"install", installUsage, install},
		{"uninstall", uninstallUsage, uninstall},
		{"clean", cleanUsage, clean},
		{"shutdown", shutdownUsage, shutDown},
		{"version", "Usage: node version\n\nPrint the versions of node and of the Kubernetes API it speaks.\n", printVersion},
		{"logger", "", runLogger},
		{"hold", "", runHold},
	}
}

func main() {
	// The live heap is small beside what watching and pulling allocate: collecting earlier halves the resident memory for a few percent of processor time.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		stop()
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("unknown command %q; there are `node status`, `node images`, `node install`, `node uninstall`, `node clean`, `node shutdown` and `node version`, and node itself with its flags (`node --help`)", name)
	}
	return all[i].run(ctx, args)
}

// parse reads flags and refuses anything else.
func parse(f *pflag.FlagSet, usage string, args []string) error {
	f.Usage = func() { fmt.Fprintf(os.Stdout, "%s\nFlags:\n%s", usage, f.FlagUsages()) }
	f.SortFlags = false
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see --help", f.Arg(0))
	}
	return nil
}

func printVersion(_ context.Context, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("version: unexpected argument %q", args[0])
	}
	_, err := fmt.Printf("node %s\nKubernetes API %s\n", release, version.Get().GitVersion)
	return err
}
