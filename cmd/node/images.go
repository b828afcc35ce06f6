package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/inspect"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

const imagesUsage = `Usage: node images ls [-o json] [flags]
       node images pull IMAGE… [flags]
       node images import ARCHIVE… [flags]
       node images prune [flags]

Look after the images of the node on this host: list them, fetch some from their registries, load archives (docker save,
OCI layout), or remove those that no Pod uses and that came from a registry. The control plane is not needed; the node's
containerd must run.
`

// imagesCommand is one of the things that 'node images' does; args are what stands after its name.
type imagesCommand func(ctx context.Context, n imagesNode, args []string) error

// imagesNode is the node that they work on.
type imagesNode struct {
	dir    string
	r      *runtime.Runtime
	store  *image.Store
	asJSON bool
}

func imagesCommands() map[string]imagesCommand {
	return map[string]imagesCommand{"ls": listImages, "pull": pullImages, "import": importImages, "prune": pruneImages}
}

func manageImages(ctx context.Context, args []string) error {
	cfg := kubelet.Defaults()
	f := pflag.NewFlagSet("node images", pflag.ContinueOnError)
	localFlags(f, &cfg)
	f.StringVar(&cfg.Mirror, "mirror", "", "pull: the node's --mirror")
	f.StringVar(&cfg.RegistryHostsDir, "registry-hosts-dir", cfg.RegistryHostsDir, "pull: the node's --registry-hosts-dir")
	f.StringVar(&cfg.ProviderConfig, "image-credential-provider-config", "", "pull: the node's --image-credential-provider-config")
	f.StringVar(&cfg.ProviderDir, "image-credential-provider-bin-dir", "", "pull: the node's --image-credential-provider-bin-dir")
	output := f.StringP("output", "o", "table", "ls: table or json")
	f.Usage = func() { fmt.Fprintf(os.Stdout, "%s\nFlags:\n%s", imagesUsage, f.FlagUsages()) }
	f.SortFlags = false
	if err := f.Parse(args); err != nil {
		return err
	}
	run := imagesCommands()[f.Arg(0)]
	if run == nil {
		return fmt.Errorf("images %q: there are ls, pull, import and prune; see node images --help", f.Arg(0))
	}
	mirror, err := image.ParseMirror(cfg.Mirror)
	if err != nil {
		return fmt.Errorf("--mirror: %w", err)
	}
	providers, err := image.LoadProviders(cfg.ProviderConfig, cfg.ProviderDir)
	if err != nil {
		return err
	}
	dir, r, done, err := local(cfg)
	if err != nil {
		return err
	}
	defer done()
	up, cancel := context.WithTimeout(ctx, containerdPatience)
	defer cancel()
	if err := r.WaitUp(up); err != nil {
		return fmt.Errorf("the containerd of the node in %s does not answer: %w; start the node daemon, or name the node by --data-dir or --containerd-address", dir, err)
	}
	return run(ctx, imagesNode{dir: dir, r: r, asJSON: *output == "json", store: image.New(r.Client, image.Pulling{
		Puller: image.Registry{Client: r.Client, Mirror: mirror, HostsDir: cfg.RegistryHostsDir}, Providers: providers,
	}, dir)}, f.Args()[1:])
}

func listImages(ctx context.Context, n imagesNode, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("images ls: unexpected argument %q", args[0])
	}
	list, err := inspect.Images(ctx, n.dir, n.r.Client)
	if err != nil {
		return err
	}
	if n.asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tSIZE\tAGE\tPODS")
	for _, i := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", i.Ref, strings.TrimPrefix(i.Digest, "sha256:")[:12], humanize.Bytes(uint64(i.Size)), age(i.Since, time.Now()), len(i.UsedBy))
	}
	return w.Flush()
}

func pullImages(ctx context.Context, n imagesNode, args []string) error {
	if len(args) == 0 {
		return errors.New("images pull: name the images to pull")
	}
	for _, ref := range args {
		res, err := n.store.Ensure(ctx, ref, v1.PullAlways, nil, func() (image.Keyring, error) { return nil, nil }, func(p image.Progress) {
			fmt.Fprintf(os.Stderr, "%s: %s of %s after %s\n", ref, humanize.Bytes(uint64(p.Done)), humanize.Bytes(uint64(p.Total)), p.Took.Round(time.Second))
		})
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s  %s\n", res.Image.Ref, res.Image.Digest, humanize.Bytes(uint64(res.Image.Size)))
	}
	return nil
}

func importImages(ctx context.Context, n imagesNode, args []string) error {
	if len(args) == 0 {
		return errors.New("images import: name the archives to load")
	}
	for _, file := range args {
		path, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		names, err := n.store.Import(ctx, path)
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(names, "\n"))
	}
	return nil
}

func pruneImages(ctx context.Context, n imagesNode, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("images prune: unexpected argument %q", args[0])
	}
	gone, freed, err := inspect.Prune(ctx, n.dir, n.r.Client)
	for _, ref := range gone {
		fmt.Println(ref)
	}
	fmt.Fprintf(os.Stderr, "%d images removed, %s\n", len(gone), humanize.Bytes(uint64(freed)))
	return err
}
