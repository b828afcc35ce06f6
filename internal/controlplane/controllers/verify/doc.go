// Package verify asks the API server what became of a write to a Pod that nobody can tell otherwise: its answer was lost, or its name is taken.
//
// In: the owner and the write. Out: the ledger told of it. It never writes to the API server.
package verify
