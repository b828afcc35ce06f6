package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

func newWhyCommand() *cobra.Command {
	var c connection
	var config string
	var all bool
	cmd := &cobra.Command{
		Use:   "why POD",
		Short: "Show why a Pod has no node, and what would give it one",
		Long: `Shows for each node which filter keeps the Pod from it, and what would change that: a smaller request, a label, a toleration, another Pod's going.
Of a Pod that has a node it shows the points of each node, were the Pod placed now.

The answer comes from the filters and scores of the scheduler itself, on what the API server knows at the moment. It takes the right to list nodes,
Pods, namespaces, volumes, storage classes and disruption budgets of the whole cluster. Nothing is changed.`,
		Example: `  gitopsd why web-7d4b9c-x2x8p -n shop
  gitopsd why shop/web-7d4b9c-x2x8p -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			profiles, err := profile.Load(config)
			if err != nil {
				return err
			}
			rc, err := c.config()
			if err != nil {
				return err
			}
			rc.ContentType = runtime.ContentTypeProtobuf
			clients, err := kubernetes.NewForConfig(rc)
			if err != nil {
				return err
			}
			namespace, name := podName(c.namespace, args[0])
			pod, err := clients.CoreV1().Pods(namespace).Get(cmd.Context(), name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("there is no Pod %s in namespace %s; name another namespace with -n", name, namespace)
			}
			if err != nil {
				return explainAPI(err)
			}
			world, err := why.Load(cmd.Context(), clients)
			if err != nil {
				return explainAPI(err)
			}
			report := why.Ask(pod, world, profiles)
			if format != cli.Table {
				return cli.Encode(os.Stdout, format, report)
			}
			return why.Write(os.Stdout, report, all)
		},
	}
	c.register(cmd.Flags())
	c.registerOutput(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "namespace of the Pod (default: default)"
	cmd.Flags().StringVar(&config, "scheduler-config", "", "the file that gitopsd serve was given as --scheduler-config")
	cmd.Flags().BoolVar(&all, "all", false, "show every node, not only those that come closest")
	return cmd
}

// podName reads POD or NAMESPACE/POD.
func podName(namespace, arg string) (string, string) {
	if ns, name, ok := strings.Cut(strings.TrimPrefix(arg, "pod/"), "/"); ok {
		return ns, name
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return namespace, strings.TrimPrefix(arg, "pod/")
}
