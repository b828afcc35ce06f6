package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/gitserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "localcluster",
		Short:         "A whole cluster on this machine, each host a network namespace",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), downCommand(), cleanHostCommand(), gitServerCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

func upCommand() *cobra.Command {
	var o cluster.Options
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "up --dir DIR",
		Short:   "Start a control plane, workers and a Git server, and write DIR/env to be sourced",
		Example: "  localcluster up --workers 2 --dir /tmp/c && . /tmp/c/env && ip netns exec $CLUSTER_NETNS kubectl get nodes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := time.Now()
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			cl, err := cluster.Up(ctx, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d nodes Ready after %s; now: . %s\n", o.Workers, time.Since(start).Round(time.Millisecond), filepath.Join(cl.Dir(), "env"))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dir, "dir", "", "where the cluster is kept")
	f.IntVar(&o.Workers, "workers", 2, "number of nodes")
	f.StringVar(&o.Bin, "bin", programDir(), "folder of the programs gitopsd, node, localcluster and web")
	f.StringVar(&o.Repo, "repo", "example-repo", "folder whose content becomes the Git repository")
	f.StringVar(&o.Images, "images", "", "folder of image archives that every node loads")
	f.IntVar(&o.MirrorPort, "mirror-port", 0, "port of the outer namespace where nodes look first for any image, by plain HTTP")
	f.StringArrayVar(&o.Serve, "serve", nil, "a further argument of gitopsd serve; may be repeated")
	f.StringArrayVar(&o.Node, "node", nil, "a further argument of every node; may be repeated")
	f.DurationVar(&timeout, "timeout", 2*time.Minute, "how long the cluster may take")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err)
	}
	return c
}

// programDir is where this program is: the others lie beside it.
func programDir() string {
	exe, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(exe)
}

func downCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "down --dir DIR",
		Short: "Remove every trace of the cluster in DIR",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cl, err := cluster.Open(dir)
			if err != nil {
				return err
			}
			return cl.Down()
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where the cluster is kept")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err)
	}
	return c
}

func cleanHostCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "clean-host",
		Short: "Remove what killed runs have left on this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed, err := cluster.CleanHost(all)
			for _, r := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", r)
			}
			if len(removed) == 0 && err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove")
			}
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also remove clusters that are in use")
	return c
}

// gitServerCommand is started by "up", inside the outer namespace.
func gitServerCommand() *cobra.Command {
	var root, listen, hook, hookCA, secret string
	c := &cobra.Command{
		Use:    "git-server",
		Short:  "Serve the repository shop.git over HTTP and announce pushes",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &gitserver.Server{
				Root: root, URL: "http://" + listen, Hook: hook,
				Secret: func() ([]byte, error) {
					data, err := os.ReadFile(secret)
					return []byte(strings.TrimSpace(string(data))), err
				},
				Client: func() (*http.Client, error) {
					pem, err := os.ReadFile(hookCA)
					if err != nil {
						return nil, err
					}
					pool := x509.NewCertPool()
					pool.AppendCertsFromPEM(pem)
					return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}, nil
				},
			}
			if err := s.Create("shop.git"); err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
			go func() { <-cmd.Context().Done(); _ = server.Close() }()
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&root, "root", "", "folder of the repositories")
	f.StringVar(&listen, "listen", "", "address to listen on")
	f.StringVar(&hook, "hook", "", "URL that pushes are announced to")
	f.StringVar(&hookCA, "hook-ca", "", "file of the certificate authority of that URL")
	f.StringVar(&secret, "secret", "", "file of the secret that announcements are signed with")
	return c
}
