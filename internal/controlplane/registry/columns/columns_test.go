package columns

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
)

// TestRowsReadAsKubectlUsersKnowThem runs the scripts in testdata, at noon of 2026-01-01:
//
//	object                 a whole object; the answer is its row, columns of -o wide and all
//	with                   one that differs from the last whole object in the given fields
//	with columns=(A,B)     the same, showing only these columns
//
// No defaults are filled in: a row has to bear an object as it is.
func TestRowsReadAsKubectlUsersKnowThem(t *testing.T) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	now = func() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }
	defer func() { now = time.Now }()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var base objecttest.Object
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			raw, err := objecttest.Parse(d.Input)
			if d.Cmd == "with" {
				raw, err = base.With(d.Input)
			} else {
				base = raw
			}
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			obj, err := raw.Decode(scheme)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			wanted := map[string]bool{}
			for _, arg := range d.CmdArgs {
				for _, column := range arg.Vals {
					wanted[column] = true
				}
			}
			definitions, cells := rowOf(t, obj)
			if len(definitions) != len(cells) {
				d.Fatalf(t, "%d cells under %d columns", len(cells), len(definitions))
			}
			var out strings.Builder
			for i, column := range definitions {
				if len(wanted) == 0 || wanted[column.Name] {
					fmt.Fprintf(&out, "%s%s: %v\n", column.Name, strings.Repeat(" (wide)", int(column.Priority)), cells[i])
				}
			}
			return out.String()
		})
	})
}

func rowOf(t *testing.T, obj runtime.Object) ([]metav1.TableColumnDefinition, []any) {
	t.Helper()
	switch o := obj.(type) {
	case *corev1.Pod:
		return Pod.Columns, Pod.Row(o)
	case *corev1.Service:
		return Service.Columns, Service.Row(o)
	case *corev1.Namespace:
		return Namespace.Columns, Namespace.Row(o)
	case *corev1.Node:
		return Node.Columns, Node.Row(o)
	case *corev1.ConfigMap:
		return ConfigMap.Columns, ConfigMap.Row(o)
	case *corev1.Secret:
		return Secret.Columns, Secret.Row(o)
	case *corev1.ServiceAccount:
		return ServiceAccount.Columns, ServiceAccount.Row(o)
	case *corev1.Event:
		return Event.Columns, Event.Row(o)
	case *eventsv1.Event:
		return EventV1.Columns, EventV1.Row(o)
	case *appsv1.Deployment:
		return Deployment.Columns, Deployment.Row(o)
	case *appsv1.ReplicaSet:
		return ReplicaSet.Columns, ReplicaSet.Row(o)
	case *discoveryv1.EndpointSlice:
		return EndpointSlice.Columns, EndpointSlice.Row(o)
	case *coordinationv1.Lease:
		return Lease.Columns, Lease.Row(o)
	case *certificatesv1.CertificateSigningRequest:
		return CertificateSigningRequest.Columns, CertificateSigningRequest.Row(o)
	case *v1alpha1.Application:
		return Application.Columns, Application.Row(o)
	}
	for _, table := range moreTables {
		if columns, cells, ok := table(obj); ok {
			return columns, cells
		}
	}
	t.Fatalf("%T has no table", obj)
	return nil, nil
}
