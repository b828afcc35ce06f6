package registry

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
)

// tableConvertor shows objects the way `kubectl get` prints them.
type tableConvertor[T Object] struct {
	gr    schema.GroupResource
	table columns.Table[T]
}

func (c tableConvertor[T]) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	row := func(o runtime.Object) error {
		t, ok := o.(T)
		if !ok {
			return fmt.Errorf("%s: cannot show a %T as a table", c.gr, o)
		}
		out.Rows = append(out.Rows, metav1.TableRow{Cells: c.table.Row(t), Object: runtime.RawExtension{Object: o}})
		return nil
	}
	var err error
	if meta.IsListType(obj) {
		err = meta.EachListItem(obj, row)
	} else {
		err = row(obj)
	}
	if err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = c.table.Columns
	}
	return out, nil
}

// storageIndexers makes the watch cache answer lists by one field from an index.
func storageIndexers(field string, value func(obj any) string) cache.Indexers {
	return cache.Indexers{storage.FieldIndex(field): func(obj any) ([]string, error) {
		return []string{value(obj)}, nil
	}}
}
