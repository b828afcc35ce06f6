// Package verify says by whom a Git commit or tag is signed.
//
// In: the public keys that may sign, and the object as Git stores it. Out: the key that signed it, or an error that says what is wrong: no signature, one by a key that is
// not among them, or one that does not fit.
//
// It knows OpenPGP signatures and those of ssh keys. It is pure: it asks no key server, and the time only where a key or a signature says until when it holds.
package verify
