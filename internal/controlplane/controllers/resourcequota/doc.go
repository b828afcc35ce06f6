// Package resourcequota keeps the status of ResourceQuotas: the limits that hold, and what the namespace uses of them.
//
// In: ResourceQuotas, and the inventory of everything that can be counted. Out: their status.
//
// Admission adds to the usage what it lets in, since nothing may slip through between two counts. This package takes away what has ended, adds what admission
// let in before it knew of the quota, and counts everything anew from time to time, because admission also counts what fails afterwards. It refuses nothing.
package resourcequota
