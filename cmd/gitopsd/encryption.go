package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"github.com/gitopsd/gitopsd/internal/controlplane/encryption"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
)

// rewritePage is how many objects are read at a time.
const rewritePage = 500

func newEncryptionCommand() *cobra.Command {
	var dir, file string
	c := &cobra.Command{
		Use: "encryption", Short: "Rotate the keys with which Secrets are encrypted in etcd",
		Long: "Rotate the keys with which Secrets are encrypted in etcd. It runs on the control plane's host, where the keys are, while the control plane runs.",
	}
	c.PersistentFlags().StringVar(&dir, "data-dir", defaultDataDir, "the control plane's data directory")
	c.PersistentFlags().StringVar(&file, "encryption-provider-config", "", "the file with the keys (default: the one in the data directory)")
	c.AddCommand(&cobra.Command{
		Use: "rotate", Short: "Make a new key, write every object anew with it, and drop the old keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir := controlPlaneDir(dir)
			if file == "" {
				file = server.EncryptionFile(filepath.Join(dir, "pki"))
			}
			n, err := rotate(cmd.Context(), adminKubeconfig(dir), file)
			if err != nil {
				return fmt.Errorf("rotate the keys in %s: %w; the old keys are kept, and another run goes on from here", file, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d objects written anew; only the new key is left\n", n)
			return err
		},
	})
	return c
}

func rotate(ctx context.Context, kubeconfig, file string) (int, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return 0, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	// Asked before anything is changed: a control plane that is down would not see the new key.
	groups, err := restmapper.GetAPIGroupResources(client.Discovery())
	if err != nil {
		return 0, err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	resources, err := encryption.AddKey(file, time.Now())
	if err != nil {
		return 0, err
	}
	total := 0
	for _, r := range resources {
		gvr, err := mapper.ResourceFor(schema.ParseGroupResource(r).WithVersion(""))
		if err != nil {
			return total, err
		}
		n, err := rewrite(ctx, objects.Resource(gvr))
		total += n
		if err != nil {
			return total, fmt.Errorf("write %s anew: %w", r, err)
		}
	}
	return total, encryption.DropOldKeys(file)
}

// rewrite has every object stored again as it is: the server notices that its stored form is of an old key.
func rewrite(ctx context.Context, objects dynamic.NamespaceableResourceInterface) (n int, err error) {
	for page := ""; ; {
		list, err := objects.List(ctx, metav1.ListOptions{Limit: rewritePage, Continue: page})
		if err != nil {
			return n, err
		}
		for i := range list.Items {
			o := &list.Items[i]
			in := objects.Namespace(o.GetNamespace())
			// Whoever writes it at the same time may have begun with the old key, so that does not count.
			err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
				_, err := in.Update(ctx, o, metav1.UpdateOptions{})
				if apierrors.IsConflict(err) {
					if latest, getErr := in.Get(ctx, o.GetName(), metav1.GetOptions{}); getErr == nil {
						o = latest
					}
				}
				return err
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return n, fmt.Errorf("%s/%s: %w", o.GetNamespace(), o.GetName(), err)
			}
			n++
		}
		if page = list.GetContinue(); page == "" {
			return n, nil
		}
	}
}
