package defaults

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

// SetHorizontalPodAutoscalerV1 completes a v1 HorizontalPodAutoscaler.
func SetHorizontalPodAutoscalerV1(obj *autoscalingv1.HorizontalPodAutoscaler) {
	setIfNil(&obj.Spec.MinReplicas, 1)
}

// SetHorizontalPodAutoscaler completes a v2 HorizontalPodAutoscaler: it keeps CPU at 80% of what is requested. What is said about behaviour in one
// direction leaves the other as it is by default: up at once, to the double or by four Pods, down as far as five minutes allow.
func SetHorizontalPodAutoscaler(obj *autoscalingv2.HorizontalPodAutoscaler) {
	setIfNil(&obj.Spec.MinReplicas, 1)
	if len(obj.Spec.Metrics) == 0 {
		utilization := int32(80)
		obj.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization,
			}},
		}}
	}
	b := obj.Spec.Behavior
	if b == nil {
		return
	}
	setIfNil(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
	setIfNil(&b.ScaleUp.StabilizationWindowSeconds, 0)
	setIfNil(&b.ScaleUp.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if b.ScaleUp.Policies == nil {
		b.ScaleUp.Policies = []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}, {Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
		}
	}
	setIfNil(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
	setIfNil(&b.ScaleDown.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if b.ScaleDown.Policies == nil {
		b.ScaleDown.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
	}
}

// SetFlowSchema completes a FlowSchema.
func SetFlowSchema(obj *flowcontrolv1.FlowSchema) { setIfZero(&obj.Spec.MatchingPrecedence, 1000) }

// SetPriorityLevelConfiguration completes a PriorityLevelConfiguration.
func SetPriorityLevelConfiguration(obj *flowcontrolv1.PriorityLevelConfiguration) {
	if obj.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		setIfNil(&obj.Spec.Exempt, flowcontrolv1.ExemptPriorityLevelConfiguration{})
		setIfNil(&obj.Spec.Exempt.NominalConcurrencyShares, 0)
		setIfNil(&obj.Spec.Exempt.LendablePercent, 0)
	}
	limited := obj.Spec.Limited
	if limited == nil {
		return
	}
	setIfNil(&limited.NominalConcurrencyShares, 30)
	setIfNil(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		setIfZero(&q.HandSize, 8)
		setIfZero(&q.Queues, 64)
		setIfZero(&q.QueueLengthLimit, 50)
	}
}

// SetPodCertificateRequest completes a PodCertificateRequest: a day.
func SetPodCertificateRequest(obj *certificatesv1.PodCertificateRequest) {
	setIfNil(&obj.Spec.MaxExpirationSeconds, certificateExpirationSeconds)
}

// SetResourceClaim completes a ResourceClaim: a request is for one device.
func SetResourceClaim(obj *resourcev1.ResourceClaim) { setDevices(&obj.Spec.Devices) }

// SetResourceClaimTemplate completes a ResourceClaimTemplate.
func SetResourceClaimTemplate(obj *resourcev1.ResourceClaimTemplate) {
	setDevices(&obj.Spec.Spec.Devices)
}

func setDevices(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			setDeviceRequest(&e.AllocationMode, &e.Count, e.Tolerations)
		}
		for j := range c.Requests[i].FirstAvailable {
			s := &c.Requests[i].FirstAvailable[j]
			setDeviceRequest(&s.AllocationMode, &s.Count, s.Tolerations)
		}
	}
}

func setDeviceRequest(mode *resourcev1.DeviceAllocationMode, count *int64, tolerations []resourcev1.DeviceToleration) {
	setIfZero(mode, resourcev1.DeviceAllocationModeExactCount)
	if *mode == resourcev1.DeviceAllocationModeExactCount {
		setIfZero(count, 1)
	}
	for i := range tolerations {
		setIfZero(&tolerations[i].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}
