package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Source is a path of a Git repository at some revision.
type Source struct {
	// repoURL is an https, http, ssh, git or file URL, or ssh in its scp-like form. It may be left out where helm.chart names a chart: then the chart's versions are the
	// revisions, and there is no ref, path, secretRef, verify or values file.
	// +optional
	RepoURL string `json:"repoURL,omitempty"`
	// ref chooses the revision; default: the branch main.
	// +optional
	Ref Ref `json:"ref,omitempty"`
	// path is the folder in the repository, relative to its root; default: the root.
	// +optional
	Path string `json:"path,omitempty"`
	// secretRef names a Secret, in the Application's namespace, with the repository's credentials: username and password, bearerToken,
	// identity (an ssh private key), password (of that key) and known_hosts, caFile, tls.crt and tls.key (a client certificate), and
	// proxy (the URL of an http or socks5 proxy).
	// +optional
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`
	// verify refuses commits that are not signed by one of some keys.
	// +optional
	Verify *Verify `json:"verify,omitempty"`
	// Rendering says how objects are made of the files.
	Rendering `json:",inline"`
}

// Ref chooses a revision; at most one field is set.
type Ref struct {
	// branch follows the head of a branch; HEAD is the one that the repository calls its default.
	// +optional
	Branch string `json:"branch,omitempty"`
	// tag follows a tag.
	// +optional
	Tag string `json:"tag,omitempty"`
	// semver follows the highest tag that is a version in this range, such as ">=1.2.0 <2.0.0" or "1.x"; a leading v in tags does not count.
	// Pre-releases count only when the range names one.
	// +optional
	SemVer string `json:"semver,omitempty"`
	// commit is one full commit hash, 40 hexadecimal digits.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// Verify says whose signature a commit must carry.
type Verify struct {
	// secretRef names a Secret, in the Application's namespace, whose values are public keys: OpenPGP keys, armored, under names that end in .asc or .gpg;
	// ssh keys, one a line as in authorized_keys or allowed_signers, under any other name.
	SecretRef corev1.LocalObjectReference `json:"secretRef"`
	// mode says what must be signed: commit (default), tag (the annotated tag that ref names), or commitAndTag.
	// +optional
	Mode VerifyMode `json:"mode,omitempty"`
}

// VerifyMode says what must be signed.
// +enum
type VerifyMode string

const (
	// VerifyCommit wants the commit signed.
	VerifyCommit VerifyMode = "commit"
	// VerifyTag wants the annotated tag signed.
	VerifyTag VerifyMode = "tag"
	// VerifyCommitAndTag wants both signed.
	VerifyCommitAndTag VerifyMode = "commitAndTag"
)

// Rendering says how objects are made of a commit's files. Which of directory, kustomize and helm applies is found out from the path: a kustomization.yaml
// makes it kustomize, a Chart.yaml Helm, anything else plain manifests.
type Rendering struct {
	// directory chooses among plain manifests.
	// +optional
	Directory *Directory `json:"directory,omitempty"`
	// kustomize is applied on top of the path's kustomization.yaml, or of what a chart's templates make.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`
	// helm says how a chart is rendered, and where it comes from if not from the path.
	// +optional
	Helm *Helm `json:"helm,omitempty"`
	// ignore is more of the repository's .sourceignore: lines as in a .gitignore, relative to its root, for what is not to be read.
	// +optional
	Ignore string `json:"ignore,omitempty"`
	// submodules reads folders of the commit that are submodules; their repositories are read with the same credentials where they are on the same host, and without any elsewhere.
	// +optional
	Submodules bool `json:"submodules,omitempty"`
	// remotes are prefixes of the URLs of Git repositories that kustomize may read bases from, and of repositories that a chart's dependencies may be fetched from,
	// such as https://github.com/example/. Default: none.
	// +optional
	// +listType=set
	Remotes []string `json:"remotes,omitempty"`
	// decryption opens files that are encrypted with SOPS.
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`
	// substitute replaces ${NAME} in the rendered objects.
	// +optional
	Substitute *Substitute `json:"substitute,omitempty"`
	// omit leaves out the rendered objects that one of these describes, such as those of a tool that is not installed.
	// +optional
	// +listType=atomic
	Omit []Omission `json:"omit,omitempty"`
}

// Omission describes objects by patterns in which * stands for any text; at least one is set, and an object matches all that are.
type Omission struct {
	// group is the API group, such as "*.toolkit.fluxcd.io".
	// +optional
	Group string `json:"group,omitempty"`
	// kind is the kind, such as ServiceMonitor.
	// +optional
	Kind string `json:"kind,omitempty"`
	// namespace is metadata.namespace as rendered, or spec.targetNamespace where that names none.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// name is the object's name.
	// +optional
	Name string `json:"name,omitempty"`
}

// Directory chooses among plain manifests. Patterns are those of .gitignore, relative to the Application's path.
type Directory struct {
	// recurse reads folders below the path too; default true.
	// +optional
	Recurse *bool `json:"recurse,omitempty"`
	// include limits what is read to files that match one of these patterns; default: all manifests.
	// +optional
	// +listType=atomic
	Include []string `json:"include,omitempty"`
	// exclude leaves out files and folders that match one of these patterns.
	// +optional
	// +listType=atomic
	Exclude []string `json:"exclude,omitempty"`
}

// Kustomize is what an overlay on top of the path's kustomization.yaml would say.
type Kustomize struct {
	// namePrefix goes before the name of every object.
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`
	// nameSuffix goes behind the name of every object.
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`
	// namespace is set on every namespaced object.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// images replaces image names, tags and digests.
	// +optional
	// +listType=map
	// +listMapKey=name
	Images []KustomizeImage `json:"images,omitempty"`
	// replicas sets the number of replicas by name.
	// +optional
	// +listType=map
	// +listMapKey=name
	Replicas []KustomizeReplicas `json:"replicas,omitempty"`
	// commonLabels are set on every object, and on selectors and templates too.
	// +optional
	CommonLabels map[string]string `json:"commonLabels,omitempty"`
	// labels are set on every object, but not on selectors.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// commonAnnotations are set on every object, and on templates too.
	// +optional
	CommonAnnotations map[string]string `json:"commonAnnotations,omitempty"`
	// annotations are set on every object, but not on templates, so that no Pod is made anew for them.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// patches are strategic merge patches, or JSON patches with a target.
	// +optional
	// +listType=atomic
	Patches []KustomizePatch `json:"patches,omitempty"`
	// components are folders with kustomize components, relative to the path.
	// +optional
	// +listType=atomic
	Components []string `json:"components,omitempty"`
}

// KustomizeImage replaces an image.
type KustomizeImage struct {
	// name is the image as the manifests have it, without tag.
	Name string `json:"name"`
	// +optional
	NewName string `json:"newName,omitempty"`
	// +optional
	NewTag string `json:"newTag,omitempty"`
	// +optional
	Digest string `json:"digest,omitempty"`
}

// KustomizeReplicas sets a number of replicas.
type KustomizeReplicas struct {
	// name is the object's name as the manifests have it.
	Name string `json:"name"`
	// count is the number of replicas.
	Count int64 `json:"count"`
}

// KustomizePatch is a patch for objects.
type KustomizePatch struct {
	// patch is the patch itself, in YAML or JSON.
	Patch string `json:"patch"`
	// target chooses the objects; a strategic merge patch without one is for the object that it names.
	// +optional
	Target *KustomizeTarget `json:"target,omitempty"`
}

// KustomizeTarget chooses objects; names are regular expressions.
type KustomizeTarget struct {
	// +optional
	Group string `json:"group,omitempty"`
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	Kind string `json:"kind,omitempty"`
	// +optional
	Name string `json:"name,omitempty"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}

// Helm says how a chart is rendered.
type Helm struct {
	// chart is where the chart comes from; default: the folder at the path.
	// +optional
	Chart *HelmChart `json:"chart,omitempty"`
	// releaseName is what templates see as .Release.Name; default: the Application's name.
	// +optional
	ReleaseName string `json:"releaseName,omitempty"`
	// valuesFiles are merged over the chart's values.yaml in order; paths are relative to the Application's path, or with a leading slash to the repository's root.
	// +optional
	// +listType=atomic
	ValuesFiles []string `json:"valuesFiles,omitempty"`
	// ignoreMissingValuesFiles leaves out those of valuesFiles that the commit does not have.
	// +optional
	IgnoreMissingValuesFiles bool `json:"ignoreMissingValuesFiles,omitempty"`
	// valuesFrom are ConfigMaps and Secrets, in the Application's namespace, that hold values; they are merged over those of all files, in order.
	// +optional
	// +listType=atomic
	ValuesFrom []HelmValuesFrom `json:"valuesFrom,omitempty"`
	// values are merged over those of all files and of valuesFrom.
	// +optional
	Values *runtime.RawExtension `json:"values,omitempty"`
	// skipCRDs leaves out the chart's folder crds.
	// +optional
	SkipCRDs bool `json:"skipCRDs,omitempty"`
	// repositories are URLs, https or oci, that the chart's dependencies may be fetched from. Default: none, so that they must be in the chart's folder charts.
	// +optional
	// +listType=atomic
	Repositories []HelmRepository `json:"repositories,omitempty"`
}

// HelmValuesFrom names a ConfigMap or Secret with values for a chart.
type HelmValuesFrom struct {
	// kind is ConfigMap or Secret.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// key is that of the data which holds the values, as a values file does; default: values.yaml.
	// +optional
	Key string `json:"key,omitempty"`
	// optional goes on without it when it, or its key, does not exist.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// HelmRepository is where charts come from.
type HelmRepository struct {
	// url is that of a Helm repository (https), or a prefix of repositories in an OCI registry (oci://registry.example.com/charts).
	URL string `json:"url"`
	// secretRef names a Secret, in the Application's namespace, with username and password, or bearerToken, and caFile.
	// +optional
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`
	// insecure lets an OCI registry that does not speak TLS be asked by plain HTTP, in which whoever is on the way can read the credentials and
	// change the chart. Without it plain HTTP is refused, also for registries at private addresses.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// HelmChart names a chart in a repository.
type HelmChart struct {
	HelmRepository `json:",inline"`
	// name is the chart's name in the repository.
	Name string `json:"name"`
	// version is a version, a range of versions such as "1.x", or the digest (sha256:...) of a chart in an OCI registry. A range is resolved anew when the
	// commit or the Application changes, and at a start.
	Version string `json:"version"`
}

// Decryption opens encrypted files.
type Decryption struct {
	// secretRef names a Secret, in the Application's namespace, whose values are private keys: age identities under names that end in .agekey, OpenPGP keys, armored, under names that
	// end in .asc.
	SecretRef corev1.LocalObjectReference `json:"secretRef"`
}

// Substitute replaces ${NAME} in rendered objects.
type Substitute struct {
	// variables are values by name; they win over those of from.
	// +optional
	Variables map[string]string `json:"variables,omitempty"`
	// from are ConfigMaps and Secrets, in the Application's namespace, whose data are values by name; later ones win.
	// +optional
	// +listType=atomic
	From []SubstituteFrom `json:"from,omitempty"`
	// strict refuses a commit with a variable that has neither a value nor a default; otherwise it is replaced by nothing.
	// +optional
	Strict bool `json:"strict,omitempty"`
}

// SubstituteFrom names a ConfigMap or Secret with values.
type SubstituteFrom struct {
	// kind is ConfigMap or Secret.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// optional goes on without it when it does not exist.
	// +optional
	Optional bool `json:"optional,omitempty"`
}
