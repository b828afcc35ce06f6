package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
)

// dataDirEnv names the data directory for kubectl, whose flags are its own.
const dataDirEnv = "GITOPSD_DATA_DIR"

func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl",
		Short: "Run kubectl, as the administrator unless a kubeconfig is given",
		Long: `Runs the kubectl that is built in. It reads --kubeconfig, or $KUBECONFIG, or else admin.kubeconfig in the data directory
(` + defaultDataDir + `, or $` + dataDirEnv + `). A link named kubectl to this program does the same.`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runKubectl(cmd, args)
		},
	}
}

// runKubectl runs kubectl with arguments that do not contain its own name. It may end the process, as kubectl does when it fails.
func runKubectl(parent *cobra.Command, args []string) error {
	// Its commands that run until they are stopped know nothing of a context: a signal ends them as if nobody here had asked for it.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		dir := os.Getenv(dataDirEnv)
		if dir == "" {
			dir = defaultDataDir
		}
		// Where there is no control plane, kubectl looks where it always does.
		if file := adminKubeconfig(controlPlaneDir(dir)); readable(file) {
			if err := os.Setenv(clientcmd.RecommendedConfigPathEnvVar, file); err != nil {
				return err
			}
		}
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	// Without limits: discovery of a cluster with many kinds takes many requests at once.
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryQPS(-1).WithWarningPrinter(streams)
	c := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     append([]string{"kubectl"}, args...),
		ConfigFlags:   flags, IOStreams: streams,
	})
	c.SetArgs(args)
	return c.ExecuteContext(parent.Context())
}
