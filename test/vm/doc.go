// Package vm runs a test in a virtual machine with Debian's kernel, for what depends on a kernel that the machine at hand may not have: project quotas, iSCSI.
//
// In: the test's name, kernel modules and programs of this machine. Out: the test's own output and verdict. The machine is QEMU's, without any help of the processor's, and without
// network; it has the test's binary as its first program, in memory, and is gone with the test. It never shares a file with the machine at hand.
package vm
