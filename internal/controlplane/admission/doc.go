// Package admission judges and completes objects on their way into storage, beyond what their own kind's rules say.
//
// In: a request's object, old object, user and namespace. Out: the object with defaults that depend on other objects, or a refusal with the reason.
//
// It never writes anything itself and calls nothing outside this process.
package admission
