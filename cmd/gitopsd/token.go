package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

func newTokenCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "token",
		Short: "Make, list and delete the tokens with which nodes join",
		Long:  "Make, list and delete the tokens with which nodes join. It runs on the control plane's host, where the cluster's keys are.",
	}
	c.PersistentFlags().StringVar(&dir, "data-dir", defaultDataDir, "the control plane's data directory")

	var ttl time.Duration
	create := &cobra.Command{
		Use: "create", Short: "Make a token and print it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 {
				return fmt.Errorf("--ttl: must be zero or more, got %s", ttl)
			}
			client, err := adminClient(dir)
			if err != nil {
				return err
			}
			keys, err := pki.Open(filepath.Join(controlPlaneDir(dir), "pki"))
			if err != nil {
				return err
			}
			var end time.Time
			if ttl > 0 {
				end = time.Now().Add(ttl)
			}
			t := serve.NewJoinToken(keys.Hash())
			if err := serve.StoreJoinToken(cmd.Context(), client, t, end, "made by gitopsd token create"); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t)
			return err
		},
	}
	create.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good; 0 for ever")

	list := &cobra.Command{
		Use: "list", Short: "Print the tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := adminClient(dir)
			if err != nil {
				return err
			}
			secrets, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(cmd.Context(), metav1.ListOptions{
				FieldSelector: "type=" + string(corev1.SecretTypeBootstrapToken),
			})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "ID\tEXPIRES\tDESCRIPTION")
			for _, s := range secrets.Items {
				end := string(s.Data["expiration"])
				if end == "" {
					end = "never"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Data["token-id"], end, s.Data["description"])
			}
			return w.Flush()
		},
	}

	remove := &cobra.Command{
		Use: "delete ID", Short: "Make a token useless; nodes that joined with it stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := adminClient(dir)
			if err != nil {
				return err
			}
			id, _, _ := strings.Cut(args[0], ".")
			err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(cmd.Context(), "bootstrap-token-"+id, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("there is no token %s; `gitopsd token list` shows them", id)
			}
			return err
		},
	}
	c.AddCommand(create, list, remove)
	return c
}

// adminClient reaches the control plane of the data directory as its administrator.
func adminClient(dir string) (kubernetes.Interface, error) {
	file := adminKubeconfig(controlPlaneDir(dir))
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: start `gitopsd serve` or `gitopsd up` first, or name its data directory with --data-dir", file)
	}
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
