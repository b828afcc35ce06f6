// Package proxy passes HTTP requests on to where a route table leads.
//
// In: a routes.Table, which may be replaced at any moment, and connections of clients. Out: each request at an endpoint of its route, and the answer at the
// client; metrics and an access log.
//
// A request takes this way: refused outright (refuse.go) → its route (proxy.go) → what the route's policy says (policy.go, limit.go, auth.go, cors.go) → an
// endpoint (endpoint.go) → passed on (forward.go), over a connection of one request at a time (conn.go, usual.go: the usual case), over HTTP/2 (h2.go), or as a
// stream of bytes both ways (upgrade.go). An endpoint that is no longer in the table gets no new request; those under way end as they would have.
//
// It knows neither Ingresses nor the API, and never believes what a client says about who it is.
package proxy
