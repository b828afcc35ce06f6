// Package logind is a systemd-logind for tests, on a system bus of its own.
//
// In: what the host is about to do. Out: the bus's address, and who holds up the shutdown. It speaks org.freedesktop.login1 as far as inhibitor locks and
// shutdowns go, and what of org.freedesktop.systemd1 has logind read its configuration anew.
//
// The bus is dbus-daemon itself. Nothing of the machine's own is asked or changed.
package logind
