package metricsapi

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var tableColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
	{Name: "cpu", Type: "string", Description: "Processors in use"},
	{Name: "memory", Type: "string", Description: "Memory in use that cannot be reclaimed"},
	{Name: "Window", Type: "string", Format: "duration", Description: "The time over which the use of processors was measured"},
}

func row(name string, u corev1.ResourceList, window metav1.Duration, obj runtime.Object) metav1.TableRow {
	return metav1.TableRow{
		Cells:  []any{name, u.Cpu().String(), u.Memory().String(), window.Duration.String()},
		Object: runtime.RawExtension{Object: obj},
	}
}

// table shows one object or a list.
func table(obj, options runtime.Object, row func(runtime.Object) (metav1.TableRow, error)) (*metav1.Table, error) {
	out := &metav1.Table{}
	add := func(o runtime.Object) error {
		r, err := row(o)
		out.Rows = append(out.Rows, r)
		return err
	}
	var err error
	if meta.IsListType(obj) {
		err = meta.EachListItem(obj, add)
	} else {
		err = add(obj)
	}
	if err != nil {
		return nil, err
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = tableColumns
	}
	return out, nil
}
