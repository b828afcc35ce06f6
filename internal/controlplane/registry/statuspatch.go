package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// The status of a Pod is patched several times in its life, and the library works out each patch on the whole object: turned into maps, merged, turned back, compared
// field by field with what it was, and with whoever set each field. A patch that speaks of the status alone needs the status alone. So while the library works out
// such a patch it sees the object without its spec and without the lists of managed fields that have nothing to do with the status; both are put back before admission,
// validation and storage see the object. The answer is the same, for less than half of the work.

type patchKey struct{}

// Note has admission and storage know of a write what the library's handlers do not tell them.
func (r *Registry) Note(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := genericapirequest.RequestInfoFrom(req.Context())
		switch {
		case !ok:
		case info.Verb == "create" && info.Subresource == "":
			req = req.WithContext(r.noteCreate(req.Context(), info))
		case info.Verb == "patch" && info.Subresource == "status" && merges(req.Header.Get("Content-Type")):
			req = notePatch(req)
		}
		next.ServeHTTP(w, req)
	})
}

// notePatch has the storage know what the request patches a status with.
func notePatch(req *http.Request) *http.Request {
	body := &noted{ReadCloser: req.Body}
	req = req.WithContext(context.WithValue(req.Context(), patchKey{}, body))
	req.Body = body
	return req
}

// merges tells whether patches of a media type say only what changes, each field in its place.
func merges(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == string(types.StrategicMergePatchType) || mediaType == string(types.MergePatchType))
}

// noted is a request's body that keeps what was read of it.
type noted struct {
	io.ReadCloser
	read bytes.Buffer
}

func (n *noted) Read(p []byte) (int, error) {
	m, err := n.ReadCloser.Read(p)
	n.read.Write(p[:m])
	return m, err
}

// patchesStatusOnly tells whether a patch speaks of the status, and otherwise of nothing but which object, and which version of it, is meant.
func patchesStatusOnly(patch []byte) bool {
	var parts map[string]json.RawMessage
	if json.Unmarshal(patch, &parts) != nil {
		return false
	}
	for name, part := range parts {
		switch name {
		case "status", "kind", "apiVersion":
		case "metadata":
			var fields map[string]json.RawMessage
			if json.Unmarshal(part, &fields) != nil {
				return false
			}
			for field := range fields {
				if !slices.Contains([]string{"name", "namespace", "uid", "resourceVersion"}, field) {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

// statusUpdate works out the new object on as little as that needs.
type statusUpdate struct{ rest.UpdatedObjectInfo }

// narrow returns info, or one that works the patch of the request out on the status alone, if it is such a patch.
func narrow(ctx context.Context, info rest.UpdatedObjectInfo) rest.UpdatedObjectInfo {
	if body, ok := ctx.Value(patchKey{}).(*noted); ok && patchesStatusOnly(body.read.Bytes()) {
		return statusUpdate{info}
	}
	return info
}

func (u statusUpdate) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	aside, ok := setAside(old)
	if !ok {
		return u.UpdatedObjectInfo.UpdatedObject(ctx, old)
	}
	updated, err := u.UpdatedObjectInfo.UpdatedObject(context.WithValue(ctx, asideKey{}, aside), aside.narrowed)
	if err != nil {
		return nil, err
	}
	aside.putBack(updated)
	return updated, nil
}

type asideKey struct{}

// aside is an object in two parts.
type aside struct {
	// narrowed has the status, the metadata, and those lists of managed fields that may change with the status.
	narrowed runtime.Object
	old      runtime.Object
	fields   []metav1.ManagedFieldsEntry
	whole    bool
}

// placeholder stands for the lists that are set aside: to the library, an object without any is one whose fields nobody manages.
const placeholder = "gitopsd.io/set-aside"

var placeholderFields = metav1.ManagedFieldsEntry{
	Manager: placeholder, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
	FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:generateName":{}}}`),
}

// maxManagers is how many lists of managed fields an object has before the library puts the oldest of all together.
const maxManagers = 10

// setAside splits an object, unless that would make a difference.
func setAside(old runtime.Object) (*aside, bool) {
	from := reflect.ValueOf(old)
	if from.Kind() != reflect.Pointer || from.Elem().Kind() != reflect.Struct || !from.Elem().FieldByName("Spec").IsValid() {
		return nil, false
	}
	a := &aside{old: old}
	var kept []metav1.ManagedFieldsEntry
	managed := old.(metav1.Object).GetManagedFields()
	for _, e := range managed {
		status, others := concerns(e)
		switch {
		case e.Manager == placeholder || status && others:
			return nil, false
		case status:
			kept = append(kept, e)
		default:
			a.fields = append(a.fields, e)
		}
	}
	if len(managed) >= maxManagers {
		return nil, false
	}
	if len(kept) == 0 && len(a.fields) > 0 {
		e := placeholderFields
		e.APIVersion = a.fields[0].APIVersion
		kept = append(kept, e)
	}
	to := reflect.New(from.Type().Elem())
	to.Elem().Set(from.Elem())
	to.Elem().FieldByName("Spec").SetZero()
	a.narrowed = to.Interface().(runtime.Object)
	a.narrowed.(metav1.Object).SetManagedFields(kept)
	return a, true
}

// concerns tells what an entry of managed fields is about: fields of the status, and fields outside it. One that cannot be read is about both.
func concerns(e metav1.ManagedFieldsEntry) (status, others bool) {
	var fields map[string]json.RawMessage
	if e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
		return true, true
	}
	for name := range fields {
		if name == "f:status" {
			status = true
		} else {
			others = true
		}
	}
	return status, others
}

// putBack makes the object whole again that the patch gave, and the one that it was given.
func (a *aside) putBack(updated runtime.Object) {
	if a.whole {
		return
	}
	a.whole = true
	restoreSpec(updated, a.old)
	restoreSpec(a.narrowed, a.old)
	u := updated.(metav1.Object)
	u.SetManagedFields(a.together(u.GetManagedFields()))
	a.narrowed.(metav1.Object).SetManagedFields(a.old.(metav1.Object).GetManagedFields())
}

// together are all lists of managed fields, in the order in which the library writes them.
func (a *aside) together(changed []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	all := slices.Concat(a.fields, slices.DeleteFunc(changed, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == placeholder }))
	slices.SortFunc(all, func(p, q metav1.ManagedFieldsEntry) int {
		return cmp.Or(cmp.Compare(p.Operation, q.Operation), cmp.Compare(seconds(p.Time), seconds(q.Time)), strings.Compare(p.Manager, q.Manager),
			strings.Compare(p.APIVersion, q.APIVersion), strings.Compare(p.Subresource, q.Subresource))
	})
	return all
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// WholeObjects has plugins see whole objects whatever they are worked out on.
func WholeObjects(next admission.Interface) admission.Interface { return wholeObjects{next} }

type wholeObjects struct{ admission.Interface }

var (
	_ admission.MutationInterface   = wholeObjects{}
	_ admission.ValidationInterface = wholeObjects{}
)

func (w wholeObjects) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	m, ok := w.Interface.(admission.MutationInterface)
	if !ok {
		return nil
	}
	if aside, ok := ctx.Value(asideKey{}).(*aside); ok {
		aside.putBack(a.GetObject())
	}
	obj, ok := a.GetObject().(metav1.Object)
	if !ok {
		return m.Admit(ctx, a, o)
	}
	before := obj.GetManagedFields()
	if err := m.Admit(ctx, a, o); err != nil {
		return err
	}
	keepFields(ctx, obj, before)
	return nil
}

// Validate is asked about what will be stored, which is whole in any case.
func (w wholeObjects) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if v, ok := w.Interface.(admission.ValidationInterface); ok {
		return v.Validate(ctx, a, o)
	}
	return nil
}
