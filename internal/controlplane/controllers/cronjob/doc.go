// Package cronjob starts Jobs at the times of a schedule: the controller of CronJobs.
//
// In: CronJobs, the Jobs they own, and the time. Out: Jobs created, and removed when a newer one replaces them or the history is full; the CronJob's status;
// Events.
//
// A Job is named after the minute it is for, and carries the time in an annotation: whatever is forgotten, by a crash or a late watch, no run happens twice.
// It never looks into a Job: whether that is finished is the Job's own status to say.
package cronjob
