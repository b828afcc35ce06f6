// Package openapi holds the OpenAPI definitions of every API group that is served, and serves the documents made of them.
//
// In: the Go types of the groups, from which `make generate` writes zz_generated.openapi.go, and the resources that a server has installed. Out:
// definitions, from which server-side apply learns how lists merge, and documents for clients, each built when somebody asks for it.
//
// It knows nothing of custom resources and of other API servers: the libraries add their own documents.
package openapi
