// Package plugins finds the plugins of a node: programs that put a socket into a folder and say there what they are.
//
// In: a folder, and who takes plugins of which type (CSI drivers, drivers of devices). Out: plugins handed over when their socket appears and taken back when it goes,
// and an answer to each whether it was taken.
//
// Each socket has a goroutine of its own, so a plugin that hangs keeps no other waiting. It knows nothing of what plugins do. The protocol is k8s.io/kubelet's
// pluginregistration/v1.
package plugins
