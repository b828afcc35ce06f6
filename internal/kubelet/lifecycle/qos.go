package lifecycle

import v1 "k8s.io/api/core/v1"

// QOS classifies a Pod as the API's PodQOSClass defines it: Guaranteed if every container limits CPU and memory and requests
// exactly that, BestEffort if none requests or limits either, Burstable otherwise.
func QOS(spec *v1.PodSpec) v1.PodQOSClass {
	guaranteed, any := true, false
	judge := func(r v1.ResourceRequirements) {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			limit, request := r.Limits[name], r.Requests[name]
			if !limit.IsZero() || !request.IsZero() {
				any = true
			}
			if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	if spec.Resources != nil && (len(spec.Resources.Limits) > 0 || len(spec.Resources.Requests) > 0) {
		judge(*spec.Resources)
	} else {
		for _, c := range all(spec) {
			judge(c.Resources)
		}
	}
	switch {
	case !any:
		return v1.PodQOSBestEffort
	case guaranteed:
		return v1.PodQOSGuaranteed
	}
	return v1.PodQOSBurstable
}
