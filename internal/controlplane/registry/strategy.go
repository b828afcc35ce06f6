package registry

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// SystemUser is the user name of gitopsd's own components.
const SystemUser = "system:gitopsd"

// strategy is what the library asks about a kind when an object is created, updated and deleted.
type strategy[T Object] struct {
	kind Kind[T]
	gv   schema.GroupVersion
}

var (
	_ rest.RESTCreateStrategy  = strategy[Object]{}
	_ rest.RESTUpdateStrategy  = strategy[Object]{}
	_ rest.ResetFieldsStrategy = strategy[Object]{}
)

func (strategy[T]) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	return Scheme.ObjectKinds(obj)
}

func (strategy[T]) Recognizes(gvk schema.GroupVersionKind) bool { return Scheme.Recognizes(gvk) }

func (strategy[T]) GenerateName(base string) string {
	return names.SimpleNameGenerator.GenerateName(base)
}

func (s strategy[T]) NamespaceScoped() bool { return !s.kind.ClusterScoped }

func (s strategy[T]) AllowCreateOnUpdate(context.Context) bool { return s.kind.CreateOnUpdate }

func (s strategy[T]) AllowUnconditionalUpdate(context.Context) bool { return !s.kind.Conditional }

func (strategy[T]) Canonicalize(runtime.Object) {}

func (s strategy[T]) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	o := obj.(T)
	if s.kind.HasStatus && !s.kind.KeepStatusOnCreate {
		status(o).SetZero()
	}
	if s.kind.HasGeneration {
		o.SetGeneration(1)
	}
	if s.kind.PrepareCreate != nil {
		s.kind.PrepareCreate(ctx, o)
	}
}

func (s strategy[T]) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	o, oldO := obj.(T), old.(T)
	if s.kind.HasStatus {
		status(o).Set(status(oldO))
	}
	if s.kind.PrepareUpdate != nil {
		s.kind.PrepareUpdate(ctx, o, oldO)
	}
	changed := specChanged(o, oldO)
	if s.kind.HasGeneration {
		o.SetGeneration(oldO.GetGeneration())
		if changed || s.kind.LabelsCount && !maps.Equal(o.GetLabels(), oldO.GetLabels()) {
			o.SetGeneration(oldO.GetGeneration() + 1)
		}
	}
	NoteChangedBy(ctx, o, oldO, changed)
}

func (s strategy[T]) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	if s.kind.Validate == nil {
		return nil
	}
	return s.kind.Validate(obj.(T))
}

func (s strategy[T]) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.kind.ValidateUpdate == nil {
		return nil
	}
	return s.kind.ValidateUpdate(obj.(T), old.(T))
}

func (s strategy[T]) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	if s.kind.Warnings == nil {
		return nil
	}
	return s.kind.Warnings(obj.(T))
}

func (s strategy[T]) WarningsOnUpdate(ctx context.Context, obj, _ runtime.Object) []string {
	return s.WarningsOnCreate(ctx, obj)
}

// GetResetFields names what a write of the main resource cannot set, so that nobody comes to own it there.
func (s strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.kind.HasStatus {
		return nil
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.gv.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status"))}
}

// forDeletion is the strategy with graceful deletion where the kind has it: the library looks for the method.
func (s strategy[T]) forDeletion() rest.RESTDeleteStrategy {
	if s.kind.Grace == nil {
		return s
	}
	return gracefulStrategy[T]{s}
}

type gracefulStrategy[T Object] struct{ strategy[T] }

var _ rest.RESTGracefulDeleteStrategy = gracefulStrategy[Object]{}

func (s gracefulStrategy[T]) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	seconds, graceful := s.kind.Grace(obj.(T), options.GracePeriodSeconds)
	if graceful {
		options.GracePeriodSeconds = &seconds
	}
	return graceful
}

// statusStrategy is the strategy of a status subresource: only the status changes.
type statusStrategy[T Object] struct{ strategy[T] }

func (s statusStrategy[T]) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	o, oldO := obj.(T), old.(T)
	restoreSpec(o, oldO)
	o.SetOwnerReferences(oldO.GetOwnerReferences())
	o.SetFinalizers(oldO.GetFinalizers())
	o.SetDeletionTimestamp(oldO.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(oldO.GetDeletionGracePeriodSeconds())
	o.SetGeneration(oldO.GetGeneration())
	if !s.kind.MetadataWithStatus {
		o.SetLabels(oldO.GetLabels())
		o.SetAnnotations(oldO.GetAnnotations())
	}
	if s.kind.PrepareStatus != nil {
		s.kind.PrepareStatus(o, oldO)
	}
}

func (s statusStrategy[T]) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.kind.ValidateStatus == nil {
		return nil
	}
	return s.kind.ValidateStatus(obj.(T), old.(T))
}

func (statusStrategy[T]) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s statusStrategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
	if !s.kind.MetadataWithStatus {
		set.Insert(fieldpath.MakePathOrDie("metadata", "labels"))
		set.Insert(fieldpath.MakePathOrDie("metadata", "annotations"))
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.gv.String()): set}
}

// The fields of a top-level API struct that are neither identity nor desired state.
var notSpec = map[string]bool{"TypeMeta": true, "ObjectMeta": true, "Status": true}

func status(obj any) reflect.Value { return reflect.ValueOf(obj).Elem().FieldByName("Status") }

// restoreSpec sets everything but metadata and status to old's.
func restoreSpec(obj, old any) {
	v, o := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range v.NumField() {
		if !notSpec[v.Type().Field(i).Name] {
			v.Field(i).Set(o.Field(i))
		}
	}
}

// specChanged tells whether anything but metadata and status differs.
func specChanged(obj, old any) bool {
	v, o := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range v.NumField() {
		if !notSpec[v.Type().Field(i).Name] && !equality.Semantic.DeepEqual(v.Field(i).Interface(), o.Field(i).Interface()) {
			return true
		}
	}
	return false
}

// changedBy is the value of the annotation AnnotationChangedBy.
type changedBy struct {
	User string    `json:"user"`
	Time time.Time `json:"time"`
}

// NoteChangedBy records, in the same write, who changes an object that came from Git. Field managers tell which program wrote a field; only
// here is it known on whose behalf. gitopsd's own components write metadata of their own all the time: only what they do to the spec ends a note.
func NoteChangedBy(ctx context.Context, obj, old metav1.Object, spec bool) {
	if obj.GetLabels()[v1alpha1.LabelApplication] == "" {
		return
	}
	user, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return
	}
	own := user.GetName() == SystemUser
	if !spec && (own || sameMetadata(obj, old)) {
		return
	}
	annotations := make(map[string]string, len(obj.GetAnnotations())+1)
	maps.Copy(annotations, obj.GetAnnotations())
	if own {
		delete(annotations, v1alpha1.AnnotationChangedBy)
	} else {
		text, err := json.Marshal(changedBy{User: user.GetName(), Time: time.Now().UTC().Truncate(time.Second)})
		if err != nil {
			return
		}
		annotations[v1alpha1.AnnotationChangedBy] = string(text)
	}
	obj.SetAnnotations(annotations)
}

// sameMetadata tells whether labels and annotations, which Git may set, are the same.
func sameMetadata(obj, old metav1.Object) bool {
	return maps.Equal(obj.GetLabels(), old.GetLabels()) && maps.Equal(obj.GetAnnotations(), old.GetAnnotations())
}
