// Package poddisruptionbudget works out how many Pods may be disrupted at the moment: the controller of PodDisruptionBudgets' status.
//
// In: budgets, the Pods they select, the desired size of the workloads that own those Pods, and the time. Out: the budgets' status and Events; and where a
// Pod was to be evicted and never was, the condition that says so is taken back.
//
// It never evicts and never stops an eviction: the API server does that, by the status, and takes one disruption from it in the same transaction. Both write
// the status on top of the version they have read, so neither undoes the other. When the numbers cannot be worked out, no disruption is allowed.
package poddisruptionbudget
