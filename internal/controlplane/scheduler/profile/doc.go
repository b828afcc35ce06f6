// Package profile reads which plugins schedule the Pods of which schedulerName.
//
// In: the content of a KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1). Out: a core.Profile for each scheduler's name and the back-off of
// Pods, or an error that names the field, what was found there and what may be. Whatever in such a file speaks of kube-scheduler as a process
// (leaderElection, clientConnection, profiling, parallelism) is read and has no effect; what would change decisions and is not there is an error.
package profile
