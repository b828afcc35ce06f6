package csi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// record is what has to be known of a volume to undo what was done with it, on the disk in the folder of the Pod's volume and in that of what is staged.
type record struct {
	Driver string `json:"driverName"`
	Handle string `json:"volumeHandle"`
	Name   string `json:"specVolID"` // the PersistentVolume's, or that of the Pod's inline volume
	Pod    string `json:"podUID,omitempty"`
	Block  bool   `json:"block,omitempty"`
	// Held is the name by which the Node's status says that it is in use; empty for a volume that any node may use at any time.
	Held v1.UniqueVolumeName `json:"held,omitempty"`
	// Boot is that of the host in which it was done; what was mounted in an earlier one is not mounted any more. Empty: it was begun, and it is not known how far it got.
	Boot      string `json:"boot,omitempty"`
	Republish bool   `json:"republish,omitempty"`
	Claim     string `json:"claim,omitempty"`  // in the Pod's namespace; empty for an inline volume
	InPod     string `json:"volume,omitempty"` // its name in the Pod
}

// recordFile has upstream's name, which some drivers read.
const recordFile = "vol_data.json"

// key is what the calls about a volume take turns by.
func (r record) key() string { return r.Driver + "^" + r.Handle }

func (r record) save(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	// The drivers' controllers keep their side over a power loss, so the node has to know its own.
	return durable.Replace(filepath.Join(dir, recordFile), b)
}

// load reads a record; nil if there is none.
func load(dir string) (*record, error) {
	path := filepath.Join(dir, recordFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	err = json.Unmarshal(b, r)
	if err == nil && (r.Driver == "" || r.Handle == "") {
		err = errors.New("it names no driver or no volume")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not understood, so that its volume can neither be used nor let go; unmount what is in %s, remove it, and restart the node daemon: %w", path, dir, err)
	}
	return r, nil
}

// published are the records of a Pod's volumes, or of all Pods' for "*".
func (p paths) published(uid string) ([]record, error) { return p.records(p.volume(uid, "*")) }

// held are the records of what a Pod keeps from other nodes, or all Pods for "*".
func (p paths) held(uid string) ([]record, error) { return p.records(p.hold(uid, "*")) }

// staged are the records of what is staged on the node.
func (p paths) staged() ([]record, error) {
	mounts, bad := p.records(filepath.Join(p.root, "plugins", "kubernetes.io", "csi", "*", "*"))
	devices, alsoBad := p.records(filepath.Join(p.devices(), "*", "data"))
	return append(mounts, devices...), errors.Join(bad, alsoBad)
}

func (p paths) records(pattern string) ([]record, error) {
	found, err := filepath.Glob(filepath.Join(pattern, recordFile))
	if err != nil {
		return nil, err
	}
	var out []record
	var bad error
	for _, f := range found {
		r, err := load(filepath.Dir(f))
		if err != nil {
			bad = errors.Join(bad, err)
		} else if r != nil {
			out = append(out, *r)
		}
	}
	return out, bad
}

// bootID tells one boot of the host from another.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown" // then reboots are not noticed, and drivers are asked nothing anew after one
	}
	return strings.TrimSpace(string(b))
}
