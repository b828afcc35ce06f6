package validation

import (
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ResourceClaim says what may be created.
func ResourceClaim(obj *resourcev1.ResourceClaim) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, deviceClaim(specPath.Child("devices"), &obj.Spec.Devices)...)
}

// ResourceClaimUpdate says what a ResourceClaim may be replaced with: its metadata may change.
func ResourceClaimUpdate(obj, old *resourcev1.ResourceClaim) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
}

// ResourceClaimStatusUpdate says what the scheduler, and who uses the claim, may report. Devices stay the same while anybody has them.
func ResourceClaimStatusUpdate(obj, old *resourcev1.ResourceClaim) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at, s := statusPath.Child("reservedFor"), &obj.Status
	if n := len(s.ReservedFor); n > resourcev1.ResourceClaimReservedForMaxSize {
		errs = append(errs, field.TooMany(at, n, resourcev1.ResourceClaimReservedForMaxSize))
	}
	seen := map[string]bool{}
	for i, r := range s.ReservedFor {
		at := at.Index(i)
		if r.APIGroup != "" {
			errs = append(errs, dnsSubdomain(at.Child("apiGroup"), r.APIGroup)...)
		}
		errs = append(errs, required(at.Child("resource"), r.Resource)...)
		errs = append(errs, required(at.Child("name"), r.Name)...)
		errs = append(errs, required(at.Child("uid"), string(r.UID))...)
		if seen[string(r.UID)] {
			errs = append(errs, field.Duplicate(at.Child("uid"), r.UID))
		}
		seen[string(r.UID)] = true
	}
	if len(s.ReservedFor) > 0 && s.Allocation == nil {
		errs = append(errs, field.Forbidden(at, "may not be specified when `allocated` is not set"))
	}
	if obj.DeletionTimestamp != nil && len(s.ReservedFor) > len(old.Status.ReservedFor) {
		errs = append(errs, field.Forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
	}
	if old.Status.Allocation != nil && s.Allocation != nil {
		errs = append(errs, validateImmutable(s.Allocation, old.Status.Allocation, statusPath.Child("allocation"))...)
	}
	return errs
}

// ResourceClaimTemplate says what may be created.
func ResourceClaimTemplate(obj *resourcev1.ResourceClaimTemplate) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	meta := specPath.Child("metadata")
	errs = append(errs, metav1validation.ValidateLabels(obj.Spec.Labels, meta.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(obj.Spec.Annotations, meta.Child("annotations"))...)
	return append(errs, deviceClaim(specPath.Child("spec", "devices"), &obj.Spec.Spec.Devices)...)
}

// ResourceClaimTemplateUpdate says what a ResourceClaimTemplate may be replaced with.
func ResourceClaimTemplateUpdate(obj, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
}

// deviceClaim checks which devices are asked for, and that what is said about requests names ones that there are.
func deviceClaim(at *field.Path, c *resourcev1.DeviceClaim) field.ErrorList {
	var errs field.ErrorList
	requests := at.Child("requests")
	if n := len(c.Requests); n > resourcev1.DeviceRequestsMaxSize {
		errs = append(errs, field.TooMany(requests, n, resourcev1.DeviceRequestsMaxSize))
	}
	names := map[string]bool{}
	for i := range c.Requests {
		r, at := &c.Requests[i], requests.Index(i)
		errs = append(errs, requiredLabel(at.Child("name"), r.Name)...)
		if names[r.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), r.Name))
		}
		names[r.Name] = true
		switch {
		case r.Exactly == nil && len(r.FirstAvailable) == 0:
			errs = append(errs, field.Required(at, "exactly one of `exactly` or `firstAvailable` is required"))
		case r.Exactly != nil && len(r.FirstAvailable) > 0:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
		}
		if e := r.Exactly; e != nil {
			errs = append(errs, deviceRequest(at.Child("exactly"), e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count)...)
		}
		if n := len(r.FirstAvailable); n > resourcev1.FirstAvailableDeviceRequestMaxSize {
			errs = append(errs, field.TooMany(at.Child("firstAvailable"), n, resourcev1.FirstAvailableDeviceRequestMaxSize))
		}
		for j := range r.FirstAvailable {
			s, at := &r.FirstAvailable[j], at.Child("firstAvailable").Index(j)
			errs = append(errs, requiredLabel(at.Child("name"), s.Name)...)
			if full := r.Name + "/" + s.Name; names[full] {
				errs = append(errs, field.Duplicate(at.Child("name"), s.Name))
			} else {
				names[full] = true
			}
			errs = append(errs, deviceRequest(at, s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count)...)
		}
	}
	known := func(at *field.Path, list []string) {
		for i, name := range list {
			if !names[name] {
				errs = append(errs, field.Invalid(at.Index(i), name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
			}
		}
	}
	if n := len(c.Constraints); n > resourcev1.DeviceConstraintsMaxSize {
		errs = append(errs, field.TooMany(at.Child("constraints"), n, resourcev1.DeviceConstraintsMaxSize))
	}
	for i, constraint := range c.Constraints {
		at := at.Child("constraints").Index(i)
		known(at.Child("requests"), constraint.Requests)
		switch {
		case constraint.MatchAttribute != nil && constraint.DistinctAttribute != nil:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "only one of `matchAttribute` and `distinctAttribute` may be set"))
		case constraint.MatchAttribute == nil && constraint.DistinctAttribute == nil:
			errs = append(errs, field.Required(at.Child("matchAttribute"), ""))
		}
	}
	if n := len(c.Config); n > resourcev1.DeviceConfigMaxSize {
		errs = append(errs, field.TooMany(at.Child("config"), n, resourcev1.DeviceConfigMaxSize))
	}
	for i := range c.Config {
		known(at.Child("config").Index(i).Child("requests"), c.Config[i].Requests)
		errs = append(errs, deviceConfiguration(at.Child("config").Index(i), &c.Config[i].DeviceConfiguration)...)
	}
	return errs
}

func deviceRequest(at *field.Path, class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64) field.ErrorList {
	var errs field.ErrorList
	if class == "" {
		errs = append(errs, field.Required(at.Child("deviceClassName"), ""))
	} else {
		errs = append(errs, dnsSubdomain(at.Child("deviceClassName"), class)...)
	}
	errs = append(errs, deviceSelectors(at.Child("selectors"), selectors)...)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, "must be greater than zero"))
		}
	default:
		errs = append(errs, oneOf(at.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)...)
	}
	return errs
}

func deviceSelectors(at *field.Path, list []resourcev1.DeviceSelector) field.ErrorList {
	var errs field.ErrorList
	if n := len(list); n > resourcev1.DeviceSelectorsMaxSize {
		errs = append(errs, field.TooMany(at, n, resourcev1.DeviceSelectorsMaxSize))
	}
	for i, s := range list {
		at := at.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(at, ""))
		case s.CEL.Expression == "":
			errs = append(errs, field.Required(at.Child("expression"), ""))
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(at.Child("expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		}
	}
	return errs
}

func deviceConfiguration(at *field.Path, c *resourcev1.DeviceConfiguration) field.ErrorList {
	at = at.Child("opaque")
	if c.Opaque == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := deviceDriver(at.Child("driver"), c.Opaque.Driver)
	if n := len(c.Opaque.Parameters.Raw); n > resourcev1.OpaqueParametersMaxLength {
		return append(errs, field.TooLong(at.Child("parameters"), "", resourcev1.OpaqueParametersMaxLength))
	}
	return append(errs, jsonObject(at.Child("parameters"), c.Opaque.Parameters.Raw, "")...)
}

func deviceDriver(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > resourcev1.DriverNameMaxLength {
		return field.ErrorList{field.TooLong(at, "", resourcev1.DriverNameMaxLength)}
	}
	return invalid(at, name, validation.IsDNS1123Subdomain(name))
}

// DeviceClass says what may be created.
func DeviceClass(obj *resourcev1.DeviceClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, deviceSelectors(specPath.Child("selectors"), obj.Spec.Selectors)...)
	if n := len(obj.Spec.Config); n > resourcev1.DeviceConfigMaxSize {
		errs = append(errs, field.TooMany(specPath.Child("config"), n, resourcev1.DeviceConfigMaxSize))
	}
	for i := range obj.Spec.Config {
		errs = append(errs, deviceConfiguration(specPath.Child("config").Index(i), &obj.Spec.Config[i].DeviceConfiguration)...)
	}
	return errs
}

// DeviceClassUpdate says what a DeviceClass may be replaced with.
func DeviceClassUpdate(obj, old *resourcev1.DeviceClass) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), DeviceClass(obj)...)
}

// ResourceSlice says what a driver may publish.
func ResourceSlice(obj *resourcev1.ResourceSlice) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec := &obj.Spec
	errs = append(errs, deviceDriver(specPath.Child("driver"), spec.Driver)...)
	errs = append(errs, required(specPath.Child("pool", "name"), spec.Pool.Name)...)
	if spec.Pool.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(specPath.Child("pool", "resourceSliceCount"), spec.Pool.ResourceSliceCount, "must be greater than zero"))
	}
	errs = append(errs, nonNegative(specPath.Child("pool", "generation"), spec.Pool.Generation)...)
	errs = append(errs, sliceNodes(spec)...)
	if n := len(spec.Devices); n > resourcev1.ResourceSliceMaxDevices {
		errs = append(errs, field.TooMany(specPath.Child("devices"), n, resourcev1.ResourceSliceMaxDevices))
	}
	names := map[string]bool{}
	for i := range spec.Devices {
		d, at := &spec.Devices[i], specPath.Child("devices").Index(i)
		errs = append(errs, requiredLabel(at.Child("name"), d.Name)...)
		if names[d.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		names[d.Name] = true
		for j := range d.Taints {
			errs = append(errs, deviceTaint(at.Child("taints").Index(j), &d.Taints[j])...)
		}
		for _, key := range sortedKeys(d.Attributes) {
			errs = append(errs, deviceAttribute(at.Child("attributes").Key(string(key)), d.Attributes[key])...)
		}
	}
	return errs
}

// sliceNodes wants it to be said once from which nodes the devices can be reached.
func sliceNodes(spec *resourcev1.ResourceSliceSpec) field.ErrorList {
	set := 0
	var errs field.ErrorList
	if spec.NodeName != nil {
		set++
		errs = append(errs, dnsSubdomain(specPath.Child("nodeName"), *spec.NodeName)...)
	}
	if spec.NodeSelector != nil {
		set++
		errs = append(errs, nodeSelector(specPath.Child("nodeSelector"), spec.NodeSelector)...)
	}
	if spec.AllNodes != nil && *spec.AllNodes {
		set++
	}
	if spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection {
		set++
	}
	if set != 1 && len(spec.SharedCounters) == 0 {
		errs = append(errs, field.Invalid(specPath, field.OmitValueType{}, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"))
	}
	return errs
}

func deviceAttribute(at *field.Path, a resourcev1.DeviceAttribute) field.ErrorList {
	set := 0
	for _, has := range []bool{
		a.IntValue != nil, a.BoolValue != nil, a.StringValue != nil, a.VersionValue != nil,
		a.IntValues != nil, a.BoolValues != nil, a.StringValues != nil, a.VersionValues != nil,
	} {
		if has {
			set++
		}
	}
	if set != 1 {
		return field.ErrorList{field.Invalid(at, a, "exactly one value must be specified")}
	}
	return nil
}

// ResourceSliceUpdate says what a ResourceSlice may be replaced with: whose devices they are, and where, stays.
func ResourceSliceUpdate(obj, old *resourcev1.ResourceSlice) field.ErrorList {
	errs := append(ResourceSlice(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	errs = append(errs, validateImmutable(obj.Spec.Driver, old.Spec.Driver, specPath.Child("driver"))...)
	errs = append(errs, validateImmutable(obj.Spec.Pool.Name, old.Spec.Pool.Name, specPath.Child("pool", "name"))...)
	return append(errs, validateImmutable(obj.Spec.NodeName, old.Spec.NodeName, specPath.Child("nodeName"))...)
}

// DeviceTaintRule says what may be created.
func DeviceTaintRule(obj *resourcev1.DeviceTaintRule) field.ErrorList {
	errs := append(clusterMeta(&obj.ObjectMeta, dnsSubdomainName), deviceTaint(specPath.Child("taint"), &obj.Spec.Taint)...)
	s := obj.Spec.DeviceSelector
	if s == nil {
		return errs
	}
	at := specPath.Child("deviceSelector")
	if s.Driver != nil {
		errs = append(errs, deviceDriver(at.Child("driver"), *s.Driver)...)
	}
	if s.Pool != nil {
		errs = append(errs, devicePool(at.Child("pool"), *s.Pool)...)
	}
	if s.Device != nil {
		errs = append(errs, requiredLabel(at.Child("device"), *s.Device)...)
	}
	return errs
}

// DeviceTaintRuleUpdate says what a DeviceTaintRule may be replaced with.
func DeviceTaintRuleUpdate(obj, old *resourcev1.DeviceTaintRule) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), DeviceTaintRule(obj)...)
}

// DeviceTaintRuleStatusUpdate says what may be told of the evictions that a rule leads to.
func DeviceTaintRuleStatusUpdate(obj, old *resourcev1.DeviceTaintRule) field.ErrorList {
	at := statusPath.Child("conditions")
	errs := append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), metav1validation.ValidateConditions(obj.Status.Conditions, at)...)
	if n := len(obj.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
		errs = append(errs, field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
	}
	return errs
}

// devicePool wants one or several DNS subdomains with slashes between them.
func devicePool(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		return field.ErrorList{field.TooLong(at, "", resourcev1.PoolNameMaxLength)}
	}
	var errs field.ErrorList
	for part := range strings.SplitSeq(name, "/") {
		errs = append(errs, invalid(at, name, validation.IsDNS1123Subdomain(part))...)
	}
	return errs
}

func deviceTaint(at *field.Path, t *resourcev1.DeviceTaint) field.ErrorList {
	errs := metav1validation.ValidateLabelName(t.Key, at.Child("key"))
	if t.Value != "" {
		errs = append(errs, invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
	}
	if t.Effect == "" {
		return append(errs, field.Required(at.Child("effect"), ""))
	}
	return append(errs, oneOf(at.Child("effect"), t.Effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)...)
}
