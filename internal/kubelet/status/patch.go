package status

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// patch makes a strategic merge patch that sets what a node reports. The UID makes the API refuse it for another Pod of the same name.
//
// Lists of addresses and conditions are merged by key on the server: conditions of other owners stay, but addresses that the Pod no longer has
// (after a reboot) would stay too, so those lists are replaced. Fields that may become empty are sent as null then.
func patch(uid types.UID, st *v1.PodStatus) ([]byte, error) {
	var conditions []any
	there := map[v1.PodConditionType]bool{}
	for _, c := range st.Conditions {
		if lifecycle.OwnsCondition(c) {
			conditions = append(conditions, condition{c, orNull(c.Reason), orNull(c.Message)})
			there[c.Type] = true
		}
	}
	for _, t := range []v1.PodConditionType{v1.PodResizePending, v1.PodResizeInProgress} {
		if !there[t] {
			conditions = append(conditions, map[string]any{"$patch": "delete", "type": t})
		}
	}
	body := map[string]any{
		"phase": st.Phase, "conditions": conditions, "startTime": st.StartTime, "qosClass": st.QOSClass,
		"message": orNull(st.Message), "reason": orNull(st.Reason),
		"hostIP": orNull(st.HostIP), "podIP": orNull(st.PodIP),
		"containerStatuses": st.ContainerStatuses,
	}
	if st.ObservedGeneration != 0 {
		body["observedGeneration"] = st.ObservedGeneration
	}
	if len(st.InitContainerStatuses) > 0 {
		body["initContainerStatuses"] = st.InitContainerStatuses
	}
	if len(st.EphemeralContainerStatuses) > 0 {
		body["ephemeralContainerStatuses"] = st.EphemeralContainerStatuses
	}
	if st.Resources != nil {
		body["resources"], body["allocatedResources"] = st.Resources, st.AllocatedResources
	}
	if len(st.HostIPs) > 0 {
		body["hostIPs"] = replaced(st.HostIPs)
	}
	if len(st.PodIPs) > 0 {
		body["podIPs"] = replaced(st.PodIPs)
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": body})
}

// condition spells out an empty reason and message: the server merges conditions field by field, so one that is left out would stay.
type condition struct {
	v1.PodCondition
	Reason  any `json:"reason"`
	Message any `json:"message"`
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// replaced marks a list as the whole one: the "replace" directive of strategic merge patches.
func replaced[T any](list []T) []any {
	out := []any{map[string]string{"$patch": "replace"}}
	for _, v := range list {
		out = append(out, v)
	}
	return out
}
