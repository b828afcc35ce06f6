// Package openapi holds the OpenAPI definitions of every API group that is served. `make generate` writes them from the Go types; the API server gives
// them to clients, and server-side apply learns from them how lists merge. Nothing here is written by hand.
package openapi
