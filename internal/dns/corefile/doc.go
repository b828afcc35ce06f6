// Package corefile reads what CoreDNS' users write to say which servers know which names.
//
// In: the data of a ConfigMap whose keys are those of coredns-custom: NAME.server holds server blocks, NAME.override directives for all
// other names. Out: the servers to forward to, or an error with key and line.
//
// Of CoreDNS' plugins it knows forward, and accepts those that ask for what is done anyway. Any other is an error: a setting that is
// silently ignored is worse than one that is refused.
package corefile
