package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is gitopsd.io/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "gitopsd.io", Version: "v1alpha1"}

var (
	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers this package's kinds.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Application{}, &ApplicationList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// Names that gitopsd writes on objects which came from Git.
const (
	// LabelApplication names the Application, as "<namespace>.<name>".
	LabelApplication = "gitopsd.io/application"
	// AnnotationOrigin holds the object's Origin as JSON. Its commit is the last one that changed the object.
	AnnotationOrigin = "gitopsd.io/origin"
	// AnnotationChangedBy holds, as JSON, who last changed the spec of a managed object against Git: {"user","time"}. The API server writes it
	// in the same transaction as the change; no field manager owns it.
	AnnotationChangedBy = "gitopsd.io/changed-by"
	// AnnotationOverride, with a reason as its value, lets an object differ from Git until the annotation is taken away. Setting it, changing it, removing it,
	// and changing against Git while it is there, take the verb VerbOverride on the Application that the object is of.
	AnnotationOverride = "gitopsd.io/override"
	// AnnotationOverriddenBy holds, as JSON, who set the override: {"user","time"}. The API server writes it in the same transaction.
	AnnotationOverriddenBy = "gitopsd.io/overridden-by"
	// VerbOverride is the verb of RBAC on applications.gitopsd.io that overrides take.
	VerbOverride = "override"
	// AnnotationPrune, with the value "disabled" on an object, keeps the object when Git drops it.
	AnnotationPrune = "gitopsd.io/prune"
	// AnnotationDeleteData, with the value "true" on a PersistentVolumeClaim, lets the claim and its data be deleted when Git drops it; without it the claim stays.
	AnnotationDeleteData = "gitopsd.io/delete-data"
	// AnnotationWave, a whole number, orders the objects of a commit: those of a lower wave are applied, and healthy, before the next; default 0.
	AnnotationWave = "gitopsd.io/sync-wave"
	// AnnotationHook makes an object a hook: it is made anew and run to its end at pre-sync, sync, post-sync or sync-fail.
	AnnotationHook = "gitopsd.io/hook"
	// AnnotationHookDelete says when a hook's object is deleted: before it runs again (the default), once it succeeded or failed, or never.
	AnnotationHookDelete = "gitopsd.io/hook-delete-policy"
	// AnnotationHookRun is on a hook's object and names the sync that it was made for.
	AnnotationHookRun = "gitopsd.io/hook-run"
	// AnnotationReplace, with the value "true" on an object, lets it be deleted and made anew where the server refuses to change it.
	AnnotationReplace = "gitopsd.io/replace"
	// AnnotationWaitForKind, with the value "true" on an object, has its commit applied without it for as long as the cluster does not know its kind.
	AnnotationWaitForKind = "gitopsd.io/wait-for-kind"
	// AnnotationReconcile is "once" on an object that is made if it is missing and then left to others, "disabled" on one that is left alone altogether.
	AnnotationReconcile = "gitopsd.io/reconcile"
	// AnnotationRequestedAt, set on an Application to a value it did not have before, asks for a look at Git at once. "gitopsd sync" sets it
	// to the present time.
	AnnotationRequestedAt = "gitopsd.io/requested-at"
	// AnnotationRollback, on an Application, holds as JSON a Rollback. "gitopsd rollback" sets it, "gitopsd sync" takes it away.
	AnnotationRollback = "gitopsd.io/rollback"
	// AnnotationTranslatedFrom, on an object that stands for one of Flux's or Argo CD's, names that, and the fields of it that were left out.
	AnnotationTranslatedFrom = "gitopsd.io/translated-from"
	// AnnotationApplicationSet, on an Application, names the ApplicationSet of Argo CD that made it.
	AnnotationApplicationSet = "gitopsd.io/application-set"
	// AnnotationAllowEmpty, with the value "true" on an Application, lets a commit without any object prune everything, and ApplicationSets in it make nothing any more; on an
	// ApplicationSet it says that of this one.
	AnnotationAllowEmpty = "gitopsd.io/allow-empty"
	// AnnotationGangMinimum, on Pods (as a rule in a Job's Pod template), asks the scheduler to place so many of the Pods of one controller together, or none.
	AnnotationGangMinimum = "gitopsd.io/gang-minimum"
	// AnnotationGangName names the gang of Pods that do not have the same controller, within their namespace.
	AnnotationGangName = "gitopsd.io/gang-name"
	// AnnotationGangTimeout is how long Pods wait for the rest of their gang, such as "10m"; then they are placed one by one. Without it they wait for ever.
	AnnotationGangTimeout = "gitopsd.io/gang-timeout"
	// AnnotationSpreadAgain, with the value "true" on Pods (as a rule in a workload's Pod template), lets them be moved to a node that has come or returned after
	// they were placed, where the scheduler would put them now for the sake of spreading. They are evicted, within their PodDisruptionBudgets.
	AnnotationSpreadAgain = "gitopsd.io/spread-again"
	// FinalizerPrune is on Applications whose objects are not to outlive them (spec.onDeletion, spec.prune), so that deleting one deletes what it created.
	FinalizerPrune = "gitopsd.io/prune"
	// FieldManager is the field manager of everything applied from Git.
	FieldManager = "gitopsd"
	// SystemNamespace is where the first Application is. It is there in every cluster.
	SystemNamespace = "gitopsd-system"
)
