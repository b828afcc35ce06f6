package validation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/health"
)

// minInterval keeps one Application from hammering its Git server.
const minInterval = time.Second

// Application says what may be created.
func Application(obj *v1alpha1.Application) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	if obj.Namespace != "" && obj.Name != "" {
		// The value of the label gitopsd.io/application on every object that is applied.
		errs = append(errs, labelValue(metadataPath.Child("name"), obj.Namespace+"."+obj.Name)...)
	}
	return append(errs, applicationSpec(obj)...)
}

func applicationSpec(obj *v1alpha1.Application) field.ErrorList {
	spec := &obj.Spec
	errs := gitSource(specPath.Child("source"), &spec.Source)
	errs = append(errs, duration(specPath.Child("interval"), spec.Interval, minInterval)...)
	if spec.TargetNamespace != "" {
		errs = append(errs, dnsLabel(specPath.Child("targetNamespace"), spec.TargetNamespace)...)
	}
	if spec.ServiceAccountName != "" {
		errs = append(errs, dnsSubdomain(specPath.Child("serviceAccountName"), spec.ServiceAccountName)...)
	}
	errs = append(errs, oneOf(specPath.Child("drift"), spec.Drift, v1alpha1.DriftReport, v1alpha1.DriftRevert, v1alpha1.DriftDeny)...)
	for i := range spec.IgnoreDifferences {
		errs = append(errs, ignoreDifference(specPath.Child("ignoreDifferences").Index(i), &spec.IgnoreDifferences[i])...)
	}
	errs = append(errs, dependencies(specPath.Child("dependsOn"), obj)...)
	errs = append(errs, duration(specPath.Child("healthTimeout"), spec.HealthTimeout, time.Second)...)
	errs = append(errs, commitStatus(specPath.Child("commitStatus"), spec.CommitStatus)...)
	errs = append(errs, healthChecks(specPath.Child("healthChecks"), spec.HealthChecks)...)
	if spec.OnDeletion != "" {
		errs = append(errs, oneOf(specPath.Child("onDeletion"), spec.OnDeletion, v1alpha1.DeletionPrune, v1alpha1.DeletionKeep)...)
	}
	return append(errs, oneOf(specPath.Child("onFailure"), spec.OnFailure, v1alpha1.FailureHold, v1alpha1.FailureRollback)...)
}

func commitStatus(at *field.Path, c *v1alpha1.CommitStatus) field.ErrorList {
	if c == nil {
		return nil
	}
	errs := requiredOneOf(at.Child("provider"), c.Provider, v1alpha1.GitHub, v1alpha1.GitLab, v1alpha1.Gitea)
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "") {
		errs = append(errs, field.Invalid(at.Child("url"), withoutPassword(c.URL), "must be an https or http URL without user or query, such as https://git.example.com"))
	}
	if c.SecretRef.Name == "" {
		return append(errs, field.Required(at.Child("secretRef", "name"), "the Secret that holds the token"))
	}
	return append(errs, dnsSubdomain(at.Child("secretRef", "name"), c.SecretRef.Name)...)
}

// withoutPassword is a URL as an error may show it.
func withoutPassword(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return ""
}

// healthChecks compiles the expressions, so that one that is none is refused where it is written.
func healthChecks(at *field.Path, checks []v1alpha1.HealthCheck) field.ErrorList {
	var errs field.ErrorList
	for i, c := range checks {
		if c.Kind == "" {
			errs = append(errs, field.Required(at.Index(i).Child("kind"), ""))
		}
		if c.Current == "" {
			errs = append(errs, field.Required(at.Index(i).Child("current"), "the expression that is true of a healthy object"))
		}
	}
	_, err := health.Compile(checks)
	if wrong := (*health.CheckError)(nil); errors.As(err, &wrong) {
		text := map[string]string{"failed": checks[wrong.Index].Failed, "inProgress": checks[wrong.Index].InProgress, "current": checks[wrong.Index].Current}[wrong.Field]
		errs = append(errs, field.Invalid(at.Index(wrong.Index).Child(wrong.Field), text, wrong.Message))
	} else if err != nil {
		errs = append(errs, field.InternalError(at, err))
	}
	return errs
}

func duration(at *field.Path, d *metav1.Duration, least time.Duration) field.ErrorList {
	if d != nil && d.Duration < least {
		return field.ErrorList{field.Invalid(at, d.Duration.String(), "must be at least "+least.String())}
	}
	return nil
}

func gitSource(at *field.Path, source *v1alpha1.Source) field.ErrorList {
	if source.RepoURL == "" && source.Helm != nil && source.Helm.Chart != nil {
		return append(chartAlone(at, source), helm(at.Child("helm"), source.Path, source.Helm)...)
	}
	errs := repoURL(at.Child("repoURL"), source.RepoURL)
	errs = append(errs, gitRef(at.Child("ref"), source.Ref)...)
	errs = append(errs, relativePath(at.Child("path"), source.Path)...)
	if source.SecretRef != nil {
		if source.SecretRef.Name == "" {
			errs = append(errs, field.Required(at.Child("secretRef", "name"), ""))
		} else {
			errs = append(errs, dnsSubdomain(at.Child("secretRef", "name"), source.SecretRef.Name)...)
		}
	}
	return append(errs, helm(at.Child("helm"), source.Path, source.Helm)...)
}

// chartAlone is for a source without a repository, which cannot have what is read from one.
func chartAlone(at *field.Path, source *v1alpha1.Source) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		path *field.Path
		set  bool
	}{
		{at.Child("ref"), source.Ref != v1alpha1.Ref{}},
		{at.Child("path"), source.Path != ""},
		{at.Child("secretRef"), source.SecretRef != nil},
		{at.Child("verify"), source.Verify != nil},
		{at.Child("helm", "valuesFiles"), len(source.Helm.ValuesFiles) > 0},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(f.path, "there is no repository: set `repoURL` too"))
		}
	}
	return errs
}

// maxReleaseName is Helm's own bound: templates make names of objects from it.
const maxReleaseName = 53

func helm(at *field.Path, folder string, h *v1alpha1.Helm) field.ErrorList {
	if h == nil {
		return nil
	}
	var errs field.ErrorList
	if h.ReleaseName != "" {
		errs = append(errs, dnsSubdomain(at.Child("releaseName"), h.ReleaseName)...)
		if len(h.ReleaseName) > maxReleaseName {
			errs = append(errs, field.TooLong(at.Child("releaseName"), h.ReleaseName, maxReleaseName))
		}
	}
	for i, f := range h.ValuesFiles {
		if f == "" {
			errs = append(errs, field.Required(at.Child("valuesFiles").Index(i), ""))
			continue
		}
		inRepo := path.Join(folder, f)
		if rest, ok := strings.CutPrefix(f, "/"); ok {
			inRepo = path.Clean(rest)
		}
		if !fs.ValidPath(inRepo) {
			errs = append(errs, field.Invalid(at.Child("valuesFiles").Index(i), f, "leads out of the repository"))
		}
	}
	if h.Values != nil && len(h.Values.Raw) > 0 {
		var values map[string]any
		if err := json.Unmarshal(h.Values.Raw, &values); err != nil {
			errs = append(errs, field.Invalid(at.Child("values"), string(h.Values.Raw), "must be a map"))
		}
	}
	if h.Chart != nil {
		errs = append(errs, helmRepository(at.Child("chart"), &h.Chart.HelmRepository)...)
	}
	for i := range h.Repositories {
		errs = append(errs, helmRepository(at.Child("repositories").Index(i), &h.Repositories[i])...)
	}
	return errs
}

func helmRepository(at *field.Path, r *v1alpha1.HelmRepository) field.ErrorList {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "oci" {
		return field.ErrorList{field.Invalid(at.Child("url"), withoutPassword(r.URL), "must be an https, http or oci URL, such as https://charts.example.com")}
	}
	if _, set := u.User.Password(); set {
		return field.ErrorList{field.Invalid(at.Child("url"), u.Redacted(), "must not contain a password: put it into a Secret and name that in secretRef")}
	}
	if r.Insecure && u.Scheme != "oci" {
		return field.ErrorList{field.Invalid(at.Child("insecure"), true, "is for registries (oci://): for a Helm repository that does not speak TLS, write http:// in its url")}
	}
	return nil
}

// scpLike is ssh's short form, user@host:path.
var scpLike = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:[^/].*$|^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:/.+$`)

func repoURL(at *field.Path, raw string) field.ErrorList {
	const forms = "must be an https, http, ssh, git or file URL, or user@host:path"
	if raw == "" {
		return field.ErrorList{field.Required(at, forms+"; it may be left out only where `helm.chart` names a chart")}
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return field.ErrorList{field.Invalid(at, raw, "must not contain spaces or control characters")}
	}
	if strings.HasPrefix(raw, "/") {
		return field.ErrorList{field.Invalid(at, raw, "must be a URL: for a repository on the control plane's own disk write file://"+raw)}
	}
	if !strings.Contains(raw, "://") {
		if scpLike.MatchString(raw) {
			return nil
		}
		return field.ErrorList{field.Invalid(at, raw, forms)}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return field.ErrorList{field.Invalid(at, raw, forms)}
	}
	if _, set := u.User.Password(); set {
		// The object is readable for many more people than a Secret is; nor is the value repeated here.
		return field.ErrorList{field.Invalid(at, u.Redacted(), "must not contain a password: put it into a Secret and name that in spec.source.secretRef")}
	}
	switch u.Scheme {
	case "https", "http", "ssh", "git":
		if u.Host == "" {
			return field.ErrorList{field.Invalid(at, raw, "must name a host")}
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
			return field.ErrorList{field.Invalid(at, raw, "must have the form file:///path")}
		}
	default:
		return field.ErrorList{field.NotSupported(at, u.Scheme, []string{"file", "git", "http", "https", "ssh"})}
	}
	return nil
}

var fullHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

func gitRef(at *field.Path, ref v1alpha1.Ref) field.ErrorList {
	var errs field.ErrorList
	set := 0
	for _, f := range []struct{ name, value string }{{"branch", ref.Branch}, {"tag", ref.Tag}, {"semver", ref.SemVer}, {"commit", ref.Commit}} {
		if f.value == "" {
			continue
		}
		set++
		complaint := ""
		switch f.name {
		case "commit":
			if !fullHash.MatchString(f.value) {
				complaint = "must be a full commit hash: 40 lower case hexadecimal digits"
			}
		case "semver":
			if _, err := semver.NewConstraint(f.value); err != nil {
				complaint = "must be a range of versions, such as 1.x or >=1.2.0 <2.0.0"
			}
		default:
			complaint = refName(f.value)
		}
		if complaint != "" {
			errs = append(errs, field.Invalid(at.Child(f.name), f.value, complaint))
		}
	}
	if set > 1 {
		errs = append(errs, field.Invalid(at, fmt.Sprintf("%+v", ref), "may not have more than one of `branch`, `tag`, `semver` and `commit`"))
	}
	return errs
}

// refName holds the rules of git-check-ref-format(1).
func refName(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) }) {
		return `must not contain spaces, control characters or any of ~^:?*[\`
	}
	if strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") || name == "@" || strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return "is no valid name of a Git reference"
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return "is no valid name of a Git reference"
		}
	}
	return ""
}

// inBrackets is what chooses an item of a list or map in a path, where any character may stand.
var inBrackets = regexp.MustCompile(`\[[^\]]*\]`)

func ignoreDifference(at *field.Path, rule *v1alpha1.IgnoreDifference) field.ErrorList {
	errs := required(at.Child("kind"), rule.Kind)
	if rule.Group != "" {
		errs = append(errs, dnsSubdomain(at.Child("group"), rule.Group)...)
	}
	if rule.Namespace != "" {
		errs = append(errs, dnsLabel(at.Child("namespace"), rule.Namespace)...)
	}
	if len(rule.Fields)+len(rule.JSONPointers)+len(rule.Managers) == 0 {
		errs = append(errs, field.Required(at.Child("fields"), "must name at least one field, such as spec.replicas; or name some in jsonPointers, or managers"))
	}
	for i, p := range rule.JSONPointers {
		at := at.Child("jsonPointers").Index(i)
		first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		switch {
		case !strings.HasPrefix(p, "/") || p == "/":
			errs = append(errs, field.Invalid(at, p, "must be a JSON pointer such as /spec/replicas"))
		case first == "apiVersion" || first == "kind":
			errs = append(errs, field.Invalid(at, p, "cannot differ: it says which object this is"))
		}
	}
	for i, m := range rule.Managers {
		at := at.Child("managers").Index(i)
		switch m {
		case "":
			errs = append(errs, field.Required(at, ""))
		case v1alpha1.FieldManager:
			errs = append(errs, field.Invalid(at, m, "is who applies what Git says; name the manager whose changes are to stay"))
		}
	}
	for i, f := range rule.Fields {
		at := at.Child("fields").Index(i)
		path := strings.TrimPrefix(inBrackets.ReplaceAllString(f, ""), ".") // kubectl's users write the dot
		first, _, _ := strings.Cut(path, ".")
		switch {
		case path == "":
			errs = append(errs, field.Required(at, ""))
		case strings.HasPrefix(path, "/") || strings.HasSuffix(path, ".") || strings.Contains(path, ".."):
			errs = append(errs, field.Invalid(at, f, "must be a path such as spec.replicas"))
		case first == "apiVersion" || first == "kind":
			errs = append(errs, field.Invalid(at, f, "cannot differ: it says which object this is"))
		}
	}
	return errs
}

func dependencies(at *field.Path, obj *v1alpha1.Application) field.ErrorList {
	var errs field.ErrorList
	type other struct{ namespace, name string }
	seen := map[other]bool{}
	for i, dependency := range obj.Spec.DependsOn {
		key := other{dependency.Of(obj.Namespace), dependency.Name}
		if dependency.Namespace != "" {
			errs = append(errs, dnsSubdomain(at.Index(i).Child("namespace"), dependency.Namespace)...)
		}
		at := at.Index(i).Child("name")
		switch {
		case dependency.Name == "":
			errs = append(errs, field.Required(at, ""))
			continue
		case key == other{obj.Namespace, obj.Name}:
			errs = append(errs, field.Invalid(at, dependency.Name, "must not be the Application itself: it would wait for ever"))
		case seen[key]:
			errs = append(errs, field.Duplicate(at, dependency.Name))
		}
		errs = append(errs, dnsSubdomain(at, dependency.Name)...)
		seen[key] = true
	}
	return errs
}

// ApplicationUpdate says what an Application may be replaced with. Any of it may change: what an earlier source created is in
// the status, and is pruned.
func ApplicationUpdate(obj, old *v1alpha1.Application) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, applicationSpec(obj)...)
}

// ApplicationStatusUpdate says what the GitOps engine may report.
func ApplicationStatusUpdate(obj, old *v1alpha1.Application) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), obj.Status.ObservedGeneration)...)
	return append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, statusPath.Child("conditions"))...)
}
