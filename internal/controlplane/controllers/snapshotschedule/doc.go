// Package snapshotschedule takes VolumeSnapshots of claims by schedule, and keeps so many of them.
//
// In: claims with the annotation gitopsd.io/snapshot-schedule, their VolumeSnapshots. Out: VolumeSnapshots made and removed, Events at claims. Snapshots that somebody
// else made are not counted and not removed, and those of a claim that is gone stay: they are what is left of it.
package snapshotschedule
