// Package routing remembers which handler serves requests of a form.
//
// In: a request, and the routes of a server. Out: the route that the library's own router selects. It decides nothing itself: where it cannot be sure, it asks.
package routing
