package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

func newKubeconfigCommand() *cobra.Command {
	c := &cobra.Command{Use: "kubeconfig", Short: "Give people access"}
	var o kubeconfigOptions
	create := &cobra.Command{
		Use:   "create USER",
		Short: "Print a kubeconfig for a user",
		Long: `Prints a kubeconfig with a client certificate for a user. It runs on the control plane's host, where the cluster's keys are.
The user may do what Roles and ClusterRoles bound to it, or to its groups, allow; --role binds one. A certificate cannot be taken back before it
ends, so bindings are what to remove from somebody who leaves.`,
		Example: `  gitopsd kubeconfig create alice --role view > alice.kubeconfig
  gitopsd kubeconfig create deployer --role edit --namespace shop --ttl 720h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := o.create(cmd.Context(), args[0], time.Now())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	f := create.Flags()
	f.StringVar(&o.dir, "data-dir", defaultDataDir, "the control plane's data directory")
	f.StringVar(&o.server, "server", "", "URL under which the user reaches the API (default: that of the administrator's kubeconfig)")
	f.StringArrayVar(&o.groups, "group", nil, "a group that the user is in; may be given again")
	f.StringVar(&o.role, "role", "", "a ClusterRole to bind to the user, such as view, edit, admin or cluster-admin")
	f.StringVarP(&o.namespace, "namespace", "n", "", "where --role counts (default: the whole cluster)")
	f.DurationVar(&o.ttl, "ttl", 365*24*time.Hour, "how long the certificate is good")
	c.AddCommand(create)
	return c
}

type kubeconfigOptions struct {
	dir, server, role, namespace string
	groups                       []string
	ttl                          time.Duration
}

func (o kubeconfigOptions) create(ctx context.Context, user string, now time.Time) ([]byte, error) {
	switch {
	case user == "":
		return nil, errors.New("USER: must not be empty")
	case o.ttl <= 0:
		return nil, fmt.Errorf("--ttl: must be more than zero, got %s", o.ttl)
	case o.namespace != "" && o.role == "":
		return nil, errors.New("--namespace says where --role counts; give --role too")
	}
	o.dir = controlPlaneDir(o.dir)
	file := adminKubeconfig(o.dir)
	admin, err := clientcmd.LoadFromFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: start `gitopsd serve` or `gitopsd up` first, or name its data directory with --data-dir", file)
	}
	if err != nil {
		return nil, err
	}
	if o.server == "" {
		for _, c := range admin.Clusters {
			o.server = c.Server
		}
	}
	keys, err := pki.Open(filepath.Join(o.dir, "pki"))
	if err != nil {
		return nil, err
	}
	// First what can fail: a kubeconfig without the rights that were asked for would be of no use.
	if o.role != "" {
		client, err := adminClient(o.dir)
		if err != nil {
			return nil, err
		}
		if err := bind(ctx, client, user, o.role, o.namespace); err != nil {
			return nil, err
		}
	}
	cert, key, err := keys.ClientUntil(now.Add(o.ttl), user, o.groups...)
	if err != nil {
		return nil, err
	}
	return serve.Kubeconfig(o.server, keys.CAPEM(), user, cert, key)
}

// bind gives a user the rights of a ClusterRole, in one namespace or everywhere. A binding of the same name stays as it is.
func bind(ctx context.Context, client kubernetes.Interface, user, role, namespace string) error {
	if _, err := client.RbacV1().ClusterRoles().Get(ctx, role, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return fmt.Errorf("--role: there is no ClusterRole %q; `gitopsd kubectl get clusterroles` shows them", role)
	} else if err != nil {
		return explainAPI(err)
	}
	meta := metav1.ObjectMeta{Name: "gitopsd:" + user + ":" + role, Namespace: namespace}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	var err error
	if namespace == "" {
		_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
	} else {
		_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
	}
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("--namespace: there is no namespace %q; push its manifest or create it first", namespace)
	case err != nil:
		return fmt.Errorf("binding ClusterRole %s to %s: %w", role, user, err)
	}
	return nil
}
