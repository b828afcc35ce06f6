// Package http1 is the server's end of HTTP/1.1, for who answers many small requests and trusts no client.
//
// In: connections, and an http.Handler. Out: requests that can be read in one way only, each in the goroutine of its connection, and the handler's answers.
// A connection whose client wants HTTP/2 is handed on.
//
// net/http's server hands each request to a second goroutine that listens for the client's leaving, and makes a request, its maps and its context anew each
// time: half of what a small request costs a proxy. Here the connection keeps them, so a handler must hold none of them when it has returned, and whether a
// client that is waiting has left is looked at now and then (gone.go), not read for.
//
// What it takes is less than what net/http takes (head.go): no line that ends in a bare line feed, no folded header, no length beside an encoding, no length
// twice. What it does not take ends the connection.
package http1
