package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/cli"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func newBlameCommand() *cobra.Command {
	var c connection
	var field string
	cmd := &cobra.Command{
		Use:   "blame KIND/NAME | KIND NAME",
		Short: "Show who set each field of an object: which commit and line, or which user and program",
		Long: `Shows for each field of a live object who set it. What came from Git has the commit that changed that very line last, its author and date, and file and
line; for that the history of the file is fetched from the Application's repository. If that cannot be done, the commit is the one that changed the object last, and
a note says so. What did not come from Git has the user of the request (where it was the object's last change), the field manager and the time. What nobody
set is a default. Status is left out, and values of Secrets are not shown.

Exit status: 0, or 1 when there is no such object or the command failed.`,
		Example: `  gitopsd blame deployment/web -n shop
  gitopsd blame deploy web -n shop --field spec.template.spec.containers`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := cli.ParseFormat(c.output)
			if err != nil {
				return err
			}
			kind, name, err := kindAndName(args)
			if err != nil {
				return err
			}
			config, err := c.config()
			if err != nil {
				return err
			}
			ref, live, err := find(cmd.Context(), config, kind, c.namespace, name)
			if err != nil {
				return err
			}
			app, err := applicationOf(cmd.Context(), config, live)
			if err != nil {
				return err
			}
			var trace cli.Traced
			note := ""
			if app != nil {
				var fields []string
				for _, o := range diff.Origins(live) {
					if o.Git {
						fields = append(fields, o.Path)
					}
				}
				blamed, err := gitops.Blame(cmd.Context(), config, app, diff.KeyOf(ref), fields)
				if err == nil {
					trace = blamed.Line
				} else {
					note = fmt.Sprintf("Lines cannot be traced (%v); what came from Git has the commit that changed the object last, and the object's first line.", err)
				}
			}
			r := cli.NewBlameReport(ref, live, trace, field)
			if r.Note = note; app != nil {
				r.Application = app.Namespace + "/" + app.Name
			}
			if field != "" && len(r.Fields) == 0 {
				return fmt.Errorf("%s has no field %s; gitopsd blame without --field shows those that it has", r.Object, field)
			}
			return cli.WriteBlame(os.Stdout, r, format, time.Now(), colour(os.Stdout))
		},
	}
	c.register(cmd.Flags())
	c.registerOutput(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "namespace of the object (default: default)"
	cmd.Flags().StringVar(&field, "field", "", "only this field and what is below it, such as spec.replicas")
	return cmd
}

// kindAndName reads KIND/NAME or KIND NAME.
func kindAndName(args []string) (kind, name string, err error) {
	if len(args) == 2 {
		return args[0], args[1], nil
	}
	kind, name, ok := strings.Cut(args[0], "/")
	if !ok || kind == "" || name == "" {
		return "", "", fmt.Errorf("%q names no object; write KIND/NAME, such as deployment/web", args[0])
	}
	return kind, name, nil
}

// find reads an object. The kind may be written as kubectl takes it: singular, plural, short, with its group.
func find(ctx context.Context, config *rest.Config, kind, namespace, name string) (v1alpha1.ObjectRef, *unstructured.Unstructured, error) {
	var ref v1alpha1.ObjectRef
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return ref, nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		return ref, nil, explainAPI(err)
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDiscoveryRESTMapper(groups), d, nil)
	gvr, err := mapper.ResourceFor(schema.ParseGroupResource(strings.ToLower(kind)).WithVersion(""))
	if meta.IsNoMatchError(err) {
		return ref, nil, fmt.Errorf("the cluster knows no kind %q; kubectl api-resources lists those that it does", kind)
	}
	if err != nil {
		return ref, nil, err
	}
	gvk, err := mapper.KindFor(gvr)
	if err != nil {
		return ref, nil, err
	}
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return ref, nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return ref, nil, err
	}
	var resource dynamic.ResourceInterface = objects.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		namespace = ""
	} else {
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		resource = objects.Resource(mapping.Resource).Namespace(namespace)
	}
	ref = v1alpha1.ObjectRef{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: namespace, Name: name}
	live, err := resource.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ref, nil, fmt.Errorf("there is no %s; name another namespace with -n", diff.KeyOf(ref))
	}
	if err != nil {
		return ref, nil, explainAPI(err)
	}
	return ref, live, nil
}

// applicationOf returns the Application whose mark an object carries; nil for none.
func applicationOf(ctx context.Context, config *rest.Config, live *unstructured.Unstructured) (*v1alpha1.Application, error) {
	mark := live.GetLabels()[v1alpha1.LabelApplication]
	if mark == "" {
		return nil, nil
	}
	clients, err := client.New(config)
	if err != nil {
		return nil, err
	}
	apps, err := clients.In("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, explainAPI(err)
	}
	for i := range apps.Items {
		if a := &apps.Items[i]; v1alpha1.Mark(a.Namespace, a.Name) == mark {
			return a, nil
		}
	}
	return nil, nil
}
