package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Application is a path in a Git repository whose objects are kept applied to the cluster.
type Application struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is to be applied, from where, and what to do about drift and failure.
	Spec ApplicationSpec `json:"spec"`
	// status says what was applied, whether it is healthy, and how the cluster differs from Git.
	// +optional
	Status ApplicationStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ApplicationList is a list of Applications.
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}

// ApplicationSpec is what is desired of an Application.
type ApplicationSpec struct {
	// source is where the objects come from.
	Source Source `json:"source"`
	// interval is the time between two looks at the repository when no webhook arrives; default 1m, at least 1s.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// targetNamespace is set on namespaced objects that name no namespace themselves; default "default".
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`
	// serviceAccountName is the ServiceAccount, in the Application's namespace, whose rights limit what may be applied; default: no limit.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// prune deletes what an earlier commit created and the present one no longer has; default true.
	// +optional
	Prune *bool `json:"prune,omitempty"`
	// onDeletion says what becomes of what was created when the Application itself is deleted: prune it, or keep it; default: as prune says of commits.
	// +optional
	OnDeletion DeletionPolicy `json:"onDeletion,omitempty"`
	// drift says what happens when somebody else changes a field that Git sets: report it, revert it at once, or deny the change at the API;
	// default revert.
	// +optional
	Drift DriftPolicy `json:"drift,omitempty"`
	// ignoreDifferences lists fields in which the cluster may differ from Git.
	// +optional
	// +listType=atomic
	IgnoreDifferences []IgnoreDifference `json:"ignoreDifferences,omitempty"`
	// dependsOn lists Applications that must be synced and healthy first.
	// +optional
	// +listType=atomic
	DependsOn []Dependency `json:"dependsOn,omitempty"`
	// replace deletes and makes anew any object that the server refuses to change, as the annotation gitopsd.io/replace does for one. Namespaces, volumes, their claims
	// and definitions of kinds have to ask for it themselves.
	// +optional
	Replace bool `json:"replace,omitempty"`
	// waitForKinds applies a commit without those of its objects whose kind the cluster does not know yet, and these as soon as it does, as the annotation gitopsd.io/wait-for-kind does for
	// one: for operators that define their kinds while they run. Without it such a commit is refused.
	// +optional
	WaitForKinds bool `json:"waitForKinds,omitempty"`
	// healthTimeout is how long after an apply the objects may take to become healthy; default 5m.
	// +optional
	HealthTimeout *metav1.Duration `json:"healthTimeout,omitempty"`
	// onFailure says what happens when they do not: rollback to the last healthy commit, or hold; default hold.
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
	// healthChecks say when objects of a kind are healthy, for kinds that gitopsd does not know well enough. The first that is for an object's kind decides.
	// +optional
	// +listType=atomic
	HealthChecks []HealthCheck `json:"healthChecks,omitempty"`
	// commitStatus tells the Git host what became of each commit.
	// +optional
	CommitStatus *CommitStatus `json:"commitStatus,omitempty"`
	// suspend stops fetching, applying and reverting until it is false again.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Dependency names another Application.
type Dependency struct {
	Name string `json:"name"`
	// namespace is the other Application's; default: the same one.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// DriftPolicy says what happens to a managed field that somebody else changed.
// +enum
type DriftPolicy string

const (
	// DriftReport shows drift in the status and leaves it.
	DriftReport DriftPolicy = "report"
	// DriftRevert applies Git's value again.
	DriftRevert DriftPolicy = "revert"
	// DriftDeny has the API server refuse the change; what changed all the same, as before this was set, is reverted.
	DriftDeny DriftPolicy = "deny"
)

// DeletionPolicy says what becomes of an Application's objects when it is deleted.
// +enum
type DeletionPolicy string

const (
	// DeletionPrune deletes them, by the same rules as in any prune.
	DeletionPrune DeletionPolicy = "prune"
	// DeletionKeep leaves them running.
	DeletionKeep DeletionPolicy = "keep"
)

// FailurePolicy says what happens when an applied commit does not become healthy in time.
// +enum
type FailurePolicy string

const (
	// FailureHold leaves the commit in place and reports it.
	FailureHold FailurePolicy = "hold"
	// FailureRollback applies the last commit that was healthy.
	FailureRollback FailurePolicy = "rollback"
)

// IgnoreDifference names fields in which an object may differ from Git; it means those that any of its lists names.
type IgnoreDifference struct {
	// group is the API group of the objects; empty for the core group.
	// +optional
	Group string `json:"group,omitempty"`
	// kind is the kind of the objects, such as Deployment.
	Kind string `json:"kind"`
	// name limits the rule to one object; default: all of the kind.
	// +optional
	Name string `json:"name,omitempty"`
	// namespace limits the rule to one namespace; default: all.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// fields are paths such as spec.replicas; [*] stands for any item of a list.
	// +optional
	// +listType=atomic
	Fields []string `json:"fields,omitempty"`
	// jsonPointers are paths as RFC 6901 writes them, such as /spec/replicas; a number stands for the item at that place in Git's list.
	// +optional
	// +listType=atomic
	JSONPointers []string `json:"jsonPointers,omitempty"`
	// managers are field managers, such as kube-controller-manager: whatever they set may differ.
	// +optional
	// +listType=atomic
	Managers []string `json:"managers,omitempty"`
}

// HealthCheck says in CEL when an object is healthy. The expressions see the object's fields as variables of their names, such as metadata, spec, status
// and data, and the whole object as "object"; each must be a boolean. They are asked in the order failed, inProgress, current.
type HealthCheck struct {
	// group is the API group of the objects; empty for the core group.
	// +optional
	Group string `json:"group,omitempty"`
	// kind is the kind of the objects, such as Certificate.
	Kind string `json:"kind"`
	// failed is true of an object that somebody has to look after.
	// +optional
	Failed string `json:"failed,omitempty"`
	// inProgress is true of an object that is on its way.
	// +optional
	InProgress string `json:"inProgress,omitempty"`
	// current is true of an object that is as it should be; when it is false, the object is on its way.
	Current string `json:"current"`
}

// CommitStatus says how a Git host is told what became of commits.
type CommitStatus struct {
	// provider is whose API the host has.
	Provider CommitStatusProvider `json:"provider"`
	// url is where the API is, such as https://git.example.com; default: the host of spec.source.repoURL.
	// +optional
	URL string `json:"url,omitempty"`
	// secretRef names a Secret, in the Application's namespace, with the token, and caFile where the host's certificate needs it.
	SecretRef corev1.LocalObjectReference `json:"secretRef"`
	// context names the status among others of the commit; default: gitopsd/<namespace>/<name>.
	// +optional
	Context string `json:"context,omitempty"`
}

// CommitStatusProvider is a kind of Git host.
// +enum
type CommitStatusProvider string

const (
	// GitHub is GitHub or GitHub Enterprise.
	GitHub CommitStatusProvider = "github"
	// GitLab is GitLab, hosted or of one's own.
	GitLab CommitStatusProvider = "gitlab"
	// Gitea is Gitea, Forgejo or Codeberg.
	Gitea CommitStatusProvider = "gitea"
)

// Condition types of an Application; each also carries the reason and message that users see first.
const (
	// ConditionReady is true when the wanted revision is applied, everything in it is healthy and nothing drifted.
	ConditionReady = "Ready"
	// ConditionSourceReady is false when the repository, the ref or the path cannot be read or a file does not parse.
	ConditionSourceReady = "SourceReady"
	// ConditionSynced is false when the wanted revision was refused by the dry run or could not be applied whole.
	ConditionSynced = "Synced"
	// ConditionHealthy is true when all applied objects are healthy.
	ConditionHealthy = "Healthy"
)

// ApplicationStatus is what is observed of an Application.
type ApplicationStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// wantedRevision is the commit last seen at the ref.
	// +optional
	WantedRevision string `json:"wantedRevision,omitempty"`
	// appliedRevision is the commit last applied whole.
	// +optional
	AppliedRevision string `json:"appliedRevision,omitempty"`
	// appliedSource is where appliedRevision was read from; the spec may say another by now.
	// +optional
	AppliedSource *AppliedSource `json:"appliedSource,omitempty"`
	// healthyRevision is the last commit after whose apply everything became healthy.
	// +optional
	HealthyRevision string `json:"healthyRevision,omitempty"`
	// handledRequest is the value of the annotation gitopsd.io/requested-at that was last acted upon.
	// +optional
	HandledRequest string `json:"handledRequest,omitempty"`
	// lastAppliedTime is when appliedRevision was applied.
	// +optional
	LastAppliedTime *metav1.MicroTime `json:"lastAppliedTime,omitempty"`
	// sync is Synced, OutOfSync, Failed or Unknown.
	// +optional
	Sync string `json:"sync,omitempty"`
	// health is Healthy, Progressing, Degraded or Unknown.
	// +optional
	Health string `json:"health,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// inventory lists every object that this Application has created or taken over and not yet pruned.
	// +optional
	// +listType=atomic
	Inventory []ObjectRef `json:"inventory,omitempty"`
	// omitted is how many objects of the applied revision spec.source.omit left out.
	// +optional
	Omitted int32 `json:"omitted,omitempty"`
	// drift lists the fields whose live value is not Git's.
	// +optional
	// +listType=atomic
	Drift []FieldDrift `json:"drift,omitempty"`
	// reverted lists the last fields that were changed against Git and set back, newest first, at most 10; time says when they were changed.
	// +optional
	// +listType=atomic
	Reverted []FieldDrift `json:"reverted,omitempty"`
	// unhealthy lists the objects that are not healthy, with the reason.
	// +optional
	// +listType=atomic
	Unhealthy []ObjectHealth `json:"unhealthy,omitempty"`
	// unhealthySince is when the applied revision stopped being, or was not yet, healthy; healthTimeout counts from it.
	// +optional
	UnhealthySince *metav1.MicroTime `json:"unhealthySince,omitempty"`
	// rollout is the commit that is on its way into the cluster step by step, or that stopped on it; absent when a commit needs no steps.
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`
	// hooks are those of the last sync that had any.
	// +optional
	// +listType=atomic
	Hooks []HookStatus `json:"hooks,omitempty"`
	// history lists the last applies, newest first, at most 10.
	// +optional
	// +listType=atomic
	History []HistoryEntry `json:"history,omitempty"`
}

// Rollout is a commit that is applied in steps: hooks, and waves of objects each of which has to be healthy before the next.
type Rollout struct {
	// revision is the commit.
	Revision string `json:"revision"`
	// generation is that of the spec which it is applied with.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// trigger is what set it off, as in the history.
	// +optional
	Trigger string `json:"trigger,omitempty"`
	// step is the number of the step that is under way, from 1; steps is how many there are.
	Step  int32 `json:"step"`
	Steps int32 `json:"steps"`
	// phase is PreSync, Sync, PostSync; SyncFail while the hooks of a failure run; Failed after that.
	Phase string `json:"phase"`
	// wave is the step's wave.
	// +optional
	Wave int32 `json:"wave,omitempty"`
	// startTime is when the first step began, stepTime when this one did; healthTimeout counts from it.
	StartTime metav1.MicroTime `json:"startTime"`
	StepTime  metav1.MicroTime `json:"stepTime"`
	// failure is why it stopped. The commit is not tried again until Git or the spec changes, or somebody asks for it.
	// +optional
	Failure string `json:"failure,omitempty"`
	// created, updated and pruned count what the steps have done.
	// +optional
	Created int32 `json:"created,omitempty"`
	// +optional
	Updated int32 `json:"updated,omitempty"`
	// +optional
	Pruned int32 `json:"pruned,omitempty"`
}

// HookStatus is one hook of a sync.
type HookStatus struct {
	ObjectRef `json:",inline"`
	// run names the sync that the hook ran in, as the annotation gitopsd.io/hook-run does.
	Run string `json:"run"`
	// phase is PreSync, Sync, PostSync or SyncFail.
	Phase string `json:"phase"`
	// result is Running, Succeeded or Failed.
	Result string `json:"result"`
	// +optional
	Message string `json:"message,omitempty"`
	// deleted is true once the hook's object was deleted.
	// +optional
	Deleted bool `json:"deleted,omitempty"`
}

// AppliedSource is what, besides the commit, decides which objects a revision consists of.
type AppliedSource struct {
	RepoURL string `json:"repoURL"`
	// +optional
	Path string `json:"path,omitempty"`
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`
	// Rendering is how objects were made of the files.
	Rendering `json:",inline"`
}

// ObjectRef names an object of the cluster.
type ObjectRef struct {
	// +optional
	Group   string `json:"group,omitempty"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// adopted is true when the object existed before this Application took it over. Such an object is never deleted.
	// +optional
	Adopted bool `json:"adopted,omitempty"`
}

// Origin is where in Git an object comes from.
type Origin struct {
	// repo is the repository's URL without credentials.
	// +optional
	Repo string `json:"repo,omitempty"`
	// commit is the full hash of the commit that was applied.
	Commit string `json:"commit"`
	// file is the path from the repository's root.
	File string `json:"file"`
	// line is the object's first line in file, from 1.
	Line int `json:"line"`
}

// FieldDrift is one field whose live value is not Git's.
type FieldDrift struct {
	ObjectRef `json:",inline"`
	// field is the path, such as spec.replicas or spec.template.spec.containers[name="web"].image.
	Field string `json:"field"`
	// want is Git's value as JSON; empty when the whole object is missing from the cluster.
	// +optional
	Want string `json:"want,omitempty"`
	// live is the cluster's value as JSON; empty when the field or the object is absent.
	// +optional
	Live string `json:"live,omitempty"`
	// user is who made the request that changed it, such as the name in a client certificate; empty when not known.
	// +optional
	User string `json:"user,omitempty"`
	// manager is the field manager that holds the field now, such as kubectl-edit.
	// +optional
	Manager string `json:"manager,omitempty"`
	// time is when it was changed.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
	// file and line are where Git sets the field, or the object's first line.
	// +optional
	File string `json:"file,omitempty"`
	// +optional
	Line int `json:"line,omitempty"`
	// override is set while the object carries the annotation gitopsd.io/override, for which the field is left as it is.
	// +optional
	Override *Override `json:"override,omitempty"`
}

// Override is an emergency in which an object may differ from Git.
type Override struct {
	// reason is what the annotation says.
	Reason string `json:"reason"`
	// user is who set it; empty when that is not known.
	// +optional
	User string `json:"user,omitempty"`
	// time is when it was set.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// ObjectHealth is an object that is not healthy, and why.
type ObjectHealth struct {
	ObjectRef `json:",inline"`
	// health is Progressing, Degraded or Unknown.
	Health string `json:"health"`
	// +optional
	Message string `json:"message,omitempty"`
}

// HistoryEntry is one apply.
type HistoryEntry struct {
	Revision string `json:"revision"`
	// message is the commit's first line.
	// +optional
	Message string `json:"message,omitempty"`
	// author is the commit's author, as "name <email>".
	// +optional
	Author string `json:"author,omitempty"`
	// time is when the apply ended.
	Time metav1.MicroTime `json:"time"`
	// trigger is webhook, poll, request, spec, start, drift, rollback or move.
	// +optional
	Trigger string `json:"trigger,omitempty"`
	// result is Applied, Refused, Failed or RolledBack.
	Result string `json:"result"`
	// error is the first line of what went wrong.
	// +optional
	Error string `json:"error,omitempty"`
	// created, updated, pruned and unchanged count the objects.
	// +optional
	Created int32 `json:"created,omitempty"`
	// +optional
	Updated int32 `json:"updated,omitempty"`
	// +optional
	Pruned int32 `json:"pruned,omitempty"`
	// +optional
	Unchanged int32 `json:"unchanged,omitempty"`
}
