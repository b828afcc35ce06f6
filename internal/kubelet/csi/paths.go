package csi

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// paths are below the folder that drivers' manifests mount from the host, /var/lib/kubelet by convention. The layout is upstream's: drivers rely on nothing of it but
// that all is below pods/ and plugins/, some read the names.
type paths struct{ root string }

// registry is where drivers register.
func (p paths) registry() string { return filepath.Join(p.root, "plugins_registry") }

// pod is where the volumes of a Pod are published.
func (p paths) pod(uid string) string {
	return filepath.Join(p.root, "pods", uid, "volumes", "kubernetes.io~csi")
}

// volume is a Pod's folder for a volume; name is the PersistentVolume's, or that of the Pod's inline volume.
func (p paths) volume(uid, name string) string { return filepath.Join(p.pod(uid), name) }

// holding is the folder of what a Pod keeps from other nodes and no driver mounts, hold that of one volume.
func (p paths) holding(uid string) string    { return filepath.Join(p.root, "pods", uid, "held") }
func (p paths) hold(uid, name string) string { return filepath.Join(p.holding(uid), name) }

// prune removes a Pod's folders, as far as nothing is in them: what is left there is not ours.
func (p paths) prune(uid string) {
	dir := filepath.Join(p.root, "pods", uid)
	os.Remove(p.holding(uid))
	for d := p.pod(uid); len(d) >= len(dir); d = filepath.Dir(d) {
		os.Remove(d)
	}
}

// target is where a volume is published; for a device that is a file outside of the Pod's folder.
func (p paths) target(uid, name string, block bool) string {
	if block {
		return filepath.Join(p.devices(), "publish", name, uid)
	}
	return filepath.Join(p.volume(uid, name), "mount")
}

// devices is where volumes that are devices are staged and published.
func (p paths) devices() string {
	return filepath.Join(p.root, "plugins", "kubernetes.io", "csi", "volumeDevices")
}

// stage gives the folder of the record of what is staged of a volume, and the path that the driver stages it at.
func (p paths) stage(r record) (dir, at string) {
	if r.Block {
		return filepath.Join(p.devices(), r.Name, "data"), filepath.Join(p.devices(), "staging", r.Name)
	}
	dir = filepath.Join(p.root, "plugins", "kubernetes.io", "csi", r.Driver, fmt.Sprintf("%x", sha256.Sum256([]byte(r.Handle))))
	return dir, filepath.Join(dir, "globalmount")
}
