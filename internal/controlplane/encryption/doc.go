// Package encryption keeps what users hold secret unreadable in etcd and in its snapshots.
//
// In: a file in the form of Kubernetes' EncryptionConfiguration; without one of the user's own a first start makes one, with a random key, for Secrets. Out: for each
// resource, what turns objects into their stored form and back.
//
// The file is read again when it has been replaced, so that keys are rotated without a restart. The package never writes objects: `gitopsd encryption rotate` does
// that through the API.
package encryption
