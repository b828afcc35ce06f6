// Package health says whether an object does what it is for.
//
// In: one object as the cluster has it. Out: Healthy, Progressing, Degraded or Unknown, and a sentence for people.
//
// Kinds whose status it knows are judged by it; every other kind by the conventions for status conditions (Ready, Available, Stalled,
// Reconciling, observedGeneration), and an object without any status is healthy by being there. It is pure: time is an argument nowhere,
// because deadlines are the business of whoever asks.
//
// An Application may say better in CEL when objects of some kind are healthy: Checks.
package health
