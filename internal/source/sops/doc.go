// Package sops decrypts files that were encrypted with SOPS.
//
// In: a file's name and content, and private keys. Out: the file as it was before it was encrypted, each line of YAML where it was; or an error with the line, in which nothing
// of what was decrypted appears.
//
// The format is the documented one (https://getsops.io/docs/, "Encryption protocol"): a data key, encrypted to each of the recipients, encrypts each value by AES-256-GCM, with the value's path
// as additional data; a MAC over all values keeps them from being moved, added or taken away. The SOPS library itself is not used, because it links the clients of every cloud's key service. Of the ways to
// keep a data key, age and OpenPGP are known here.
//
// It is pure, and writes nothing anywhere.
package sops
