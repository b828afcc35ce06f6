package main

import (
	"os"
	"path/filepath"
)

// controlPlaneDir is the directory of the control plane that a command's --data-dir means: dir itself where `gitopsd serve` works in it, and the folder in it
// that `gitopsd up` uses, which keeps the node's files beside. Where neither has started yet it is dir.
func controlPlaneDir(dir string) string {
	if below := upControlPlane(dir); !readable(adminKubeconfig(dir)) && readable(adminKubeconfig(below)) {
		return below
	}
	return dir
}

// upControlPlane is where `gitopsd up --data-dir dir` has its control plane.
func upControlPlane(dir string) string { return filepath.Join(dir, "control-plane") }

// adminKubeconfig is the administrator's access to the control plane of a directory.
func adminKubeconfig(dir string) string { return filepath.Join(dir, "admin.kubeconfig") }

func readable(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
