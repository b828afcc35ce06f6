// Package routes says where an HTTP request goes.
//
// In: routes, each a host, a path and what to do with what comes there. Out: a Table that finds the route of a request.
//
// It knows neither the Ingress kind nor any other of the API, no sockets, and keeps nothing: translators from other kinds make the same routes.
package routes
