// Package controllers starts every controller of the control plane.
//
// In: clients, one informer factory, an Event recorder and the cluster's settings. Out: controllers that run until the context ends. Each
// lives in a folder of its own: a pure decision (decide.go) and a thin loop around it (controller.go). They share caches and the API, and
// know nothing of one another.
package controllers
