package volumesnapshot

import (
	"context"
	"embed"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// definitions are the CSI project's own: hack/generate.sh.
//
//go:embed definitions/*.yaml
var definitions embed.FS

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// define has the three kinds be served. Definitions that are there are whoever's made them: those of another release of the CSI project serve v1 as well.
func define(ctx context.Context, client dynamic.Interface) error {
	files, err := definitions.ReadDir("definitions")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := definitions.ReadFile("definitions/" + f.Name())
		if err != nil {
			return err
		}
		d := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &d.Object); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if _, err := client.Resource(crds).Create(ctx, d, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating CustomResourceDefinition %s: %w", d.GetName(), err)
		}
	}
	return nil
}

// served waits until the API answers for the kinds, and makes the class unless it is there.
func served(ctx context.Context, client snapshotclient.Interface) error {
	const look = 100 * time.Millisecond // once in the life of a process: the server of custom resources tells nobody when a kind is served
	for {
		_, err := client.SnapshotV1().VolumeSnapshotClasses().Create(ctx, pv.SnapshotClass(), metav1.CreateOptions{FieldManager: fieldManager})
		if err == nil || apierrors.IsAlreadyExists(err) {
			_, contents := client.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{Limit: 1})
			_, err = client.SnapshotV1().VolumeSnapshots(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
			if contents != nil {
				err = contents
			}
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
}
