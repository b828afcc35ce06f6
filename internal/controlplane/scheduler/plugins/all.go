package plugins

// Filters are all filters in the order they are asked: the cheap ones first, and before the others those whose reason, if several apply, says most.
func Filters() []Filter {
	return []Filter{
		Unschedulable{}, NodeAffinity{}, TaintToleration{}, NodePorts{}, Fit{},
		VolumeRestrictions{}, VolumeZone{}, VolumeLimits{}, VolumeBinding{}, DynamicResources{}, TopologySpread{}, PodAffinity{},
	}
}

// Scores are all scores with the weights they have unless a profile says otherwise.
func Scores() []Weighted {
	return []Weighted{
		{TaintPreference{}, 3},
		{AffinityPreference{}, 2},
		{WorkloadSpread{}, 2},
		{TopologyPreference{}, 2},
		{PodPreference{RequiredWeight: 1}, 2},
		{Allocation{Strategy: LeastAllocated}, 1},
		{Balanced{}, 1},
		{ImageLocality{}, 1},
	}
}
