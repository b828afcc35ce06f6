package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// Applications reads Applications, as the API server knows them.
type Applications interface {
	// Application returns nil when there is none of that name.
	Application(ctx context.Context, namespace, name string) (*v1alpha1.Application, error)
	Applications(ctx context.Context) ([]v1alpha1.Application, error)
}

// Where says where in Git an Application's object, or a field of it, is set; file is empty when that is not known.
type Where func(namespace, application string, ref v1alpha1.ObjectRef, field string) (file string, line int)

// driftDenial keeps what Git says from being changed past Git, where an Application says drift: deny, and overrides from everybody who may not use them.
type driftDenial struct {
	*admission.Handler
	apps       Applications
	objects    Objects
	live       dynamic.Interface
	authorizer authorizer.Authorizer
	where      Where
	now        func() time.Time
}

var (
	_ admission.MutationInterface   = (*driftDenial)(nil)
	_ admission.ValidationInterface = (*driftDenial)(nil)
)

func denyDrift(c Config) *driftDenial {
	return &driftDenial{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		apps:    c.Applications, objects: c.Objects, live: c.Dynamic, authorizer: c.Authorizer, where: c.Where, now: time.Now,
	}
}

// Admit notes who sets an override, in the same write; nobody can write that note themselves.
func (d *driftDenial) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	next := accessor(a.GetObject())
	if next == nil || a.GetSubresource() != "" || next.GetLabels()[v1alpha1.LabelApplication] == "" {
		return nil
	}
	annotations := next.GetAnnotations()
	reason, overridden := annotations[v1alpha1.AnnotationOverride]
	note, noted := annotations[v1alpha1.AnnotationOverriddenBy]
	if !overridden && !noted {
		return nil
	}
	want := ""
	if old := accessor(a.GetOldObject()); old != nil && overridden {
		if before, was := old.GetAnnotations()[v1alpha1.AnnotationOverride]; was && before == reason {
			want = old.GetAnnotations()[v1alpha1.AnnotationOverriddenBy]
		}
	}
	if overridden && want == "" {
		text, err := json.Marshal(map[string]string{"user": a.GetUserInfo().GetName(), "time": d.now().UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		want = string(text)
	}
	if want == note {
		return nil
	}
	annotations = maps.Clone(annotations)
	if want == "" {
		delete(annotations, v1alpha1.AnnotationOverriddenBy)
	} else {
		annotations[v1alpha1.AnnotationOverriddenBy] = want
	}
	next.SetAnnotations(annotations)
	return nil
}

func (d *driftDenial) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	err := d.judge(ctx, a, o)
	if err == nil {
		return nil
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return admission.NewForbidden(a, err)
}

// judge says why a request is refused: for the object's own sake, or, where it takes others along, for theirs, which may be another Application's.
func (d *driftDenial) judge(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	inside := isInside(ctx)
	if inside && a.GetSubresource() != "scale" {
		return nil
	}
	if err := d.itself(ctx, a, o, inside); err != nil || inside {
		return err
	}
	return d.contents(ctx, a, o, a.GetOldObject())
}

func (d *driftDenial) itself(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, inside bool) error {
	scale := a.GetSubresource() == "scale"
	live, next := a.GetOldObject(), a.GetObject()
	if a.GetOperation() == admission.Delete {
		next = nil
	}
	if scale {
		var err error
		if live, next, err = d.scaled(ctx, a); err != nil || live == nil {
			return err
		}
	}
	m := accessor(live)
	if m == nil {
		m = accessor(next)
	}
	if m == nil {
		return nil
	}
	mark := m.GetLabels()[v1alpha1.LabelApplication]
	if mark == "" {
		return nil
	}
	app, err := d.marked(ctx, mark)
	if err != nil || app == nil {
		return err
	}
	at := attempt{app: app, inside: inside, scale: scale, manager: managerOf(a), ref: d.refOf(a, live, next)}
	if !denies(app) && !mentionsOverride(live) && !mentionsOverride(next) {
		return nil
	}
	if at.live, err = content(live, a.GetKind(), o); err != nil {
		return err
	}
	if at.next, err = content(next, a.GetKind(), o); err != nil {
		return err
	}
	found := examine(at)
	if !found.drifts() && !found.override {
		return nil
	}
	if found.deletion && at.ref.Namespace != "" && d.ending(ctx, at.ref.Namespace) {
		return nil
	}
	may := false
	if found.override || found.overridden != nil {
		if may, err = d.mayOverride(ctx, a, app); err != nil {
			return err
		}
	}
	if err := found.objection(at, may, d.where); err != nil {
		return err
	}
	reason := strings.TrimPrefix(overrideText(at.next), "=")
	if found.overridden != nil {
		reason = found.overridden.Reason
	}
	return a.AddAnnotation("drift.gitopsd.io/override", fmt.Sprintf("%s/%s: %s", app.Namespace, app.Name, reason))
}

// marked finds the Application that a label on its objects names; nil when there is none.
func (d *driftDenial) marked(ctx context.Context, mark string) (*v1alpha1.Application, error) {
	namespace, name, _ := strings.Cut(mark, ".") // a namespace's name has no dot
	app, err := d.apps.Application(ctx, namespace, name)
	if app != nil || err != nil {
		return app, err
	}
	all, err := d.apps.Applications(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if v1alpha1.Mark(all[i].Namespace, all[i].Name) == mark {
			return &all[i], nil // its name is so long that the mark is a hash of it
		}
	}
	return nil, nil
}

// scaled turns a request for another size into one for another object.
func (d *driftDenial) scaled(ctx context.Context, a admission.Attributes) (live, next runtime.Object, err error) {
	wish, ok := a.GetObject().(*autoscalingv1.Scale)
	was, had := a.GetOldObject().(*autoscalingv1.Scale)
	if !ok || !had || wish.Spec.Replicas == was.Spec.Replicas {
		return nil, nil, nil
	}
	obj, err := d.live.Resource(a.GetResource()).Namespace(a.GetNamespace()).Get(ctx, a.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	if obj.GetLabels()[v1alpha1.LabelApplication] == "" {
		return nil, nil, nil
	}
	path, err := d.replicasPath(ctx, a.GetResource())
	if err != nil {
		return nil, nil, err
	}
	changed := obj.DeepCopy()
	return obj, changed, unstructured.SetNestedField(changed.Object, int64(wish.Spec.Replicas), path...)
}

// replicasPath is where objects of a resource keep their size: a custom resource's definition says so.
func (d *driftDenial) replicasPath(ctx context.Context, r schema.GroupVersionResource) ([]string, error) {
	builtIn := []string{"spec", "replicas"}
	if !strings.Contains(r.Group, ".") {
		return builtIn, nil
	}
	u, err := d.live.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")).Get(ctx, r.GroupResource().String(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return builtIn, nil
	case err != nil:
		return nil, err
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &definition); err != nil {
		return nil, err
	}
	for _, v := range definition.Spec.Versions {
		if v.Name == r.Version && v.Subresources != nil && v.Subresources.Scale != nil {
			return strings.Split(strings.TrimPrefix(v.Subresources.Scale.SpecReplicasPath, "."), "."), nil
		}
	}
	return builtIn, nil
}

// contents refuses to delete a namespace, or a definition, whose objects are kept as Git says: they would go with it.
func (d *driftDenial) contents(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, live runtime.Object) error {
	if a.GetOperation() != admission.Delete || a.GetSubresource() != "" {
		return nil
	}
	var holds func(v1alpha1.ObjectRef) bool
	switch a.GetKind().GroupKind() {
	case corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind():
		holds = func(r v1alpha1.ObjectRef) bool { return r.Namespace == a.GetName() }
	case apiextensionsv1.Kind("CustomResourceDefinition"):
		kind, err := definedKind(live, a.GetKind(), o)
		if err != nil {
			return err
		}
		holds = func(r v1alpha1.ObjectRef) bool { return r.Group == kind.Group && r.Kind == kind.Kind }
	default:
		return nil
	}
	if m := accessor(live); m == nil || m.GetDeletionTimestamp() != nil {
		return nil
	}
	apps, err := d.apps.Applications(ctx)
	if err != nil {
		return err
	}
	for i := range apps {
		app := &apps[i]
		if !denies(app) {
			continue
		}
		n, example := 0, v1alpha1.ObjectRef{}
		for _, r := range app.Status.Inventory {
			if holds(r) {
				if n++; n == 1 {
					example = r
				}
			}
		}
		if n == 0 {
			continue
		}
		if may, err := d.mayOverride(ctx, a, app); err != nil || may && mentionsOverride(live) {
			return err
		}
		return fmt.Errorf("it holds %d objects from Git, such as %s, and Application %s/%s denies drift: remove them from %s first; in an emergency, whoever has the verb %s on the Application may, with the annotation %s",
			n, diff.KeyOf(example), app.Namespace, app.Name, app.Spec.Source.URL(), v1alpha1.VerbOverride, v1alpha1.AnnotationOverride)
	}
	return nil
}

func definedKind(obj runtime.Object, gvk schema.GroupVersionKind, o admission.ObjectInterfaces) (schema.GroupKind, error) {
	u, err := content(obj, gvk, o)
	if err != nil || u == nil {
		return schema.GroupKind{}, err
	}
	group, _, err1 := unstructured.NestedString(u.Object, "spec", "group")
	kind, _, err2 := unstructured.NestedString(u.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}, errors.Join(err1, err2)
}

// ending says whether a namespace is going away, and all that is in it with it.
func (d *driftDenial) ending(ctx context.Context, namespace string) bool {
	ns, err := d.objects.Namespace(ctx, namespace)
	return err == nil && ns.Status.Phase == corev1.NamespaceTerminating
}

func (d *driftDenial) mayOverride(ctx context.Context, a admission.Attributes, app *v1alpha1.Application) (bool, error) {
	decision, _, err := d.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: v1alpha1.VerbOverride, Namespace: app.Namespace, Name: app.Name,
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: "applications", ResourceRequest: true,
	})
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	return false, err
}

func (d *driftDenial) refOf(a admission.Attributes, live, next runtime.Object) v1alpha1.ObjectRef {
	gvk := a.GetKind()
	for _, obj := range []runtime.Object{live, next} {
		if u, ok := obj.(*unstructured.Unstructured); ok {
			gvk = u.GroupVersionKind()
		}
	}
	return v1alpha1.ObjectRef{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: a.GetNamespace(), Name: a.GetName()}
}

// managerOf is the field manager that a request names; empty when it leaves that to the name of the program.
func managerOf(a admission.Attributes) string {
	switch o := a.GetOperationOptions().(type) {
	case *metav1.UpdateOptions:
		return o.FieldManager
	case *metav1.PatchOptions:
		return o.FieldManager
	}
	return ""
}

func mentionsOverride(obj runtime.Object) bool {
	m := accessor(obj)
	if m == nil {
		return false
	}
	_, ok := m.GetAnnotations()[v1alpha1.AnnotationOverride]
	return ok
}

// accessor is nil for what has no metadata, such as the options of a subresource.
func accessor(obj runtime.Object) metav1.Object {
	if obj == nil {
		return nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil
	}
	return m
}

// content is an object as JSON has it. The libraries' own kinds, such as definitions of custom resources, come in an internal version that has no such form.
func content(obj runtime.Object, gvk schema.GroupVersionKind, o admission.ObjectInterfaces) (*unstructured.Unstructured, error) {
	if obj == nil {
		return nil, nil
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return u, nil
	}
	if convertor := o.GetObjectConvertor(); convertor != nil {
		versioned, err := convertor.ConvertToVersion(obj, gvk.GroupVersion())
		if err != nil {
			return nil, fmt.Errorf("reading a %T: %w", obj, err)
		}
		obj = versioned
	}
	c, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("reading a %T: %w", obj, err)
	}
	return &unstructured.Unstructured{Object: c}, nil
}
