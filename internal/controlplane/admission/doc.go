// Package admission judges and completes objects on their way into storage, beyond what their own kind's rules say.
//
// In: a request's object, old object, user and namespace. Out: the object with defaults that depend on other objects, or a refusal with the reason.
//
// chain.go is the order. Each plugin of ours is a rule: a pure function of the object and of what caches hold, in a file by its subject. Policies, webhooks and the
// weighing against quotas are the library's plugins; webhooks are the only part that calls anything outside of this process.
package admission
