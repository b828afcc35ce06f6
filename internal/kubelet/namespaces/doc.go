// Package namespaces makes and holds the Linux namespaces that the containers of a Pod share.
//
// In: a directory of the Pod, its host name. Out: files net, ipc and uts in that directory, bind mounts of namespaces that live for as long as the mounts do: no
// process holds them, so none has to be kept alive, restarted, or found again. Only where containers share their processes is there a holder,
// because a PID namespace dies with its first process (see HoldPID).
//
// A Pod with user IDs of its own has a file user as well, and all its namespaces belong to that one (see HoldUsers).
//
// New ones are kept ready ahead of time, since the kernel takes milliseconds to make a network namespace and a Pod should not wait for it.
// Those waiting are open descriptors only, so they are gone with this process. This package never configures a network.
package namespaces
