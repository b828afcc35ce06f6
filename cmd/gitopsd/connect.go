package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/client"
)

// connection is how a command reaches the control plane, and how it writes what it finds.
type connection struct {
	kubeconfig, dataDir, namespace, output string
}

func (c *connection) register(f *pflag.FlagSet) {
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "how to reach the control plane (default: $KUBECONFIG, or admin.kubeconfig in the data directory)")
	f.StringVar(&c.dataDir, "data-dir", defaultDataDir, "the control plane's data directory on this machine")
	f.StringVarP(&c.namespace, "namespace", "n", "", "namespace of the Application (default: all)")
}

func (c *connection) registerOutput(f *pflag.FlagSet) {
	f.StringVarP(&c.output, "output", "o", string(cli.Table), "table, json or yaml")
}

// config reads the kubeconfig.
func (c *connection) config() (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{}
	switch env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); {
	case c.kubeconfig != "":
		rules.ExplicitPath = c.kubeconfig
	case env != "":
		rules.Precedence = filepath.SplitList(env)
	default:
		rules.ExplicitPath = adminKubeconfig(controlPlaneDir(c.dataDir))
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err), errors.Is(err, os.ErrNotExist):
		return nil, errors.New("no kubeconfig: name one with --kubeconfig or KUBECONFIG, or the control plane's directory with --data-dir")
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.UserAgent = "gitopsd"
	config.QPS = -1
	return config, nil
}

func (c *connection) clients() (*client.Client, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// list returns the Applications that a name and the namespace choose. A name that chooses none is an error.
func (c *connection) list(ctx context.Context, clients *client.Client, name string) ([]v1alpha1.Application, error) {
	opts := metav1.ListOptions{}
	if name != "" {
		opts.FieldSelector = "metadata.name=" + name
	}
	l, err := clients.In(c.namespace).List(ctx, opts)
	if err != nil {
		return nil, explainAPI(err)
	}
	if name != "" && len(l.Items) == 0 {
		return nil, fmt.Errorf("there is no Application %s%s; gitopsd status shows those that there are", name, inNamespace(c.namespace))
	}
	return l.Items, nil
}

// one returns the Application that a name chooses, or the only one when no name is given.
func (c *connection) one(ctx context.Context, clients *client.Client, args []string) (*v1alpha1.Application, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	apps, err := c.list(ctx, clients, name)
	switch {
	case err != nil:
		return nil, err
	case len(apps) == 0:
		return nil, fmt.Errorf("there are no Applications%s", inNamespace(c.namespace))
	case len(apps) > 1:
		names := make([]string, 0, len(apps))
		for _, a := range apps {
			names = append(names, a.Namespace+"/"+a.Name)
		}
		return nil, fmt.Errorf("which Application? There are %s; give a name, and a namespace with -n", strings.Join(names, ", "))
	}
	return &apps[0], nil
}

func inNamespace(ns string) string {
	if ns == "" {
		return ""
	}
	return " in namespace " + ns
}

// explainAPI says what to do about the API's most common refusals.
func explainAPI(err error) error {
	var network net.Error
	switch {
	case errors.As(err, &network):
		return fmt.Errorf("the control plane does not answer; is gitopsd serve running, and is this its kubeconfig? (%w)", err)
	case apierrors.IsUnauthorized(err):
		return errors.New("the control plane does not accept this kubeconfig's credentials; use the admin.kubeconfig of its data directory")
	case apierrors.IsNotFound(err):
		return errors.New("the cluster serves no Applications; is the kubeconfig that of a gitopsd control plane?")
	}
	return err
}

// colour says whether people read the output: a terminal, and nobody asked for plain text (https://no-color.org).
func colour(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
