package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// Claims gives what persistent volumes are found by.
type Claims interface {
	Claim(name string) (*v1.PersistentVolumeClaim, error)
	PersistentVolume(name string) (*v1.PersistentVolume, error)
}

// Disks are the volumes that this node makes on its own disk, and what it knows of itself.
type Disks interface {
	// Open gives the directory of a volume, or its device, and makes it unless it has been made.
	Open(ctx context.Context, claim *v1.PersistentVolumeClaim, v *v1.PersistentVolume) (path string, err error)
	// NodeLabels are the node's own; nil while they are not known.
	NodeLabels() map[string]string
	// OtherUser names another Pod on the node that uses a claim; empty if there is none.
	OtherUser(pod *v1.Pod, claim string) string
}

// Drivers are the storage drivers that run on this node.
type Drivers interface {
	Mount(ctx context.Context, v csi.Volume) (csi.Mounted, error)
	// SecretOf gives the content of a Secret that a volume names.
	SecretOf(ctx context.Context, ref *v1.SecretReference) (map[string]string, error)
	// Hold waits until no other node may write to a network volume that no driver mounts.
	Hold(ctx context.Context, pod *v1.Pod, v *v1.PersistentVolume) error
}

// driven sets up a volume of a storage driver.
func driven(ctx context.Context, v csi.Volume, src Source) (Volume, error) {
	m, err := src.Mount(ctx, v)
	if err != nil {
		return Volume{}, err
	}
	if m.Group != nil {
		err = own(m.Path, v.Pod)
	}
	return Volume{Path: m.Path, Block: m.Block, Driver: true}, err
}

// rememberedFile is where a Pod's volume directory keeps what a claim's volume came to, for the time when the API is away.
const rememberedFile = "claim.json"

// persistent sets up the volume of a claim. path is the Pod's own directory for it.
func persistent(ctx context.Context, path string, pod *v1.Pod, v *v1.Volume, src Source) (Volume, error) {
	made, err := fromClaim(ctx, path, pod, v, src)
	if err != nil {
		var last Volume
		if b, readErr := os.ReadFile(filepath.Join(path, rememberedFile)); src.Away(err) && readErr == nil && json.Unmarshal(b, &last) == nil && exists(last.Path) {
			return last, nil
		}
		return Volume{}, err
	}
	if made.Path == path {
		return made, nil // it hides whatever is written here; after a reboot it is mounted anew, which takes the API
	}
	b, err := json.Marshal(made)
	if err != nil {
		return Volume{}, err
	}
	if err := os.MkdirAll(path, 0o711); err != nil {
		return Volume{}, err
	}
	return made, os.WriteFile(filepath.Join(path, rememberedFile), b, 0o600)
}

func fromClaim(ctx context.Context, path string, pod *v1.Pod, v *v1.Volume, src Source) (Volume, error) {
	name := pv.ClaimOf(pod, v)
	claim, err := src.Claim(name)
	if err != nil {
		return Volume{}, fmt.Errorf("PersistentVolumeClaim %s/%s: %w", pod.Namespace, name, err)
	}
	about := fmt.Sprintf("PersistentVolumeClaim %s/%s", pod.Namespace, name)
	switch {
	case v.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return Volume{}, fmt.Errorf("%s was not created for the Pod: rename the Pod or its volume", about)
	case claim.Spec.VolumeName == "" || claim.Status.Phase != v1.ClaimBound:
		return Volume{}, fmt.Errorf("%s has no volume yet: it is %s; `kubectl describe pvc -n %s %s` says what it waits for", about, claim.Status.Phase, pod.Namespace, name)
	}
	if slices.Contains(claim.Spec.AccessModes, v1.ReadWriteOncePod) {
		if other := src.OtherUser(pod, name); other != "" {
			return Volume{}, fmt.Errorf("%s may be used by one Pod at a time (ReadWriteOncePod), and Pod %s still does", about, other)
		}
	}
	vol, err := src.PersistentVolume(claim.Spec.VolumeName)
	if err != nil {
		return Volume{}, fmt.Errorf("%s: PersistentVolume %s: %w", about, claim.Spec.VolumeName, err)
	}
	if vol.Spec.ClaimRef == nil || vol.Spec.ClaimRef.UID != claim.UID {
		return Volume{}, fmt.Errorf("%s: PersistentVolume %s is another claim's; nothing of it is touched", about, vol.Name)
	}
	labels := src.NodeLabels()
	if labels == nil && vol.Spec.NodeAffinity != nil {
		return Volume{}, fmt.Errorf("%s: this node does not know its own labels yet, which say whether PersistentVolume %s can be reached", about, vol.Name)
	}
	if err := volume.CheckNodeAffinity(vol, labels); err != nil {
		return Volume{}, fmt.Errorf("%s: PersistentVolume %s cannot be reached from this node (its spec.nodeAffinity), where the Pod was bound by spec.nodeName: %w", about, vol.Name, err)
	}
	readOnly := v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly || pv.OnlyRead(vol) || vol.Spec.NFS != nil && vol.Spec.NFS.ReadOnly || vol.Spec.ISCSI != nil && vol.Spec.ISCSI.ReadOnly
	made, err := mountVolume(ctx, path, pod, v.Name, readOnly, claim, vol, src)
	if err != nil {
		return Volume{}, fmt.Errorf("%s: %w", about, err)
	}
	made.Claim = name
	made.ReadOnly = readOnly
	return made, nil
}

// mountVolume makes a volume a path on this node. name is what the Pod calls it.
func mountVolume(ctx context.Context, path string, pod *v1.Pod, name string, readOnly bool, claim *v1.PersistentVolumeClaim, vol *v1.PersistentVolume, src Source) (Volume, error) {
	// Once per Pod, when it begins to use the volume: this is called again every minute, and a database's files are many.
	give := func(at string) error {
		if exists(filepath.Join(path, rememberedFile)) {
			return nil
		}
		return own(at, pod)
	}
	block := ptr.Deref(vol.Spec.VolumeMode, v1.PersistentVolumeFilesystem) == v1.PersistentVolumeBlock
	switch s := &vol.Spec.PersistentVolumeSource; {
	case pv.IsLocal(vol):
		at, err := src.Open(ctx, claim, vol)
		if err != nil || block {
			return Volume{Path: at, Block: block}, err
		}
		return Volume{Path: at}, give(at)
	case s.Local != nil:
		info, err := os.Stat(s.Local.Path)
		switch {
		case err != nil:
			return Volume{}, fmt.Errorf("PersistentVolume %s: path %q does not exist on this node: make the directory, or correct the volume: %w", vol.Name, s.Local.Path, err)
		case info.IsDir() == block, block && info.Mode()&os.ModeDevice == 0:
			return Volume{}, fmt.Errorf("PersistentVolume %s: %s is a %s, which does not go with the volume mode %s", vol.Name, s.Local.Path, kindOf(info), *vol.Spec.VolumeMode)
		case block:
			return Volume{Path: s.Local.Path, Block: true}, nil
		}
		return Volume{Path: s.Local.Path}, give(s.Local.Path)
	case s.CSI != nil:
		return driven(ctx, csi.Volume{Pod: pod, Name: name, Persistent: vol, Claim: claim, ReadOnly: readOnly}, src)
	case s.ISCSI != nil:
		if err := src.Hold(ctx, pod, vol); err != nil {
			return Volume{}, err
		}
		return ofVolume(vol, claim, readOnly).setup(ctx, path, pod, src)
	case block:
		return Volume{}, fmt.Errorf("PersistentVolume %s: only local volumes, iSCSI disks and volumes of CSI drivers can be of the mode Block on this node", vol.Name)
	case s.HostPath != nil:
		return Volume{Path: s.HostPath.Path}, hostPath(s.HostPath)
	case s.NFS != nil:
		if err := src.Hold(ctx, pod, vol); err != nil {
			return Volume{}, err
		}
		return Volume{Path: path}, nfs(ctx, path, s.NFS, vol.Spec.MountOptions)
	}
	return Volume{}, fmt.Errorf("PersistentVolume %s: its kind is not provided by this node; use one of local, hostPath, nfs, iscsi, csi, or the StorageClass %s", vol.Name, pv.LocalClass)
}

func kindOf(info os.FileInfo) string {
	switch {
	case info.IsDir():
		return "directory"
	case info.Mode()&os.ModeDevice != 0:
		return "device"
	}
	return "file"
}

// own gives a volume's files to the Pod's fsGroup. With fsGroupChangePolicy OnRootMismatch it looks at the topmost directory only.
func own(path string, pod *v1.Pod) error {
	sc := pod.Spec.SecurityContext
	if sc == nil || sc.FSGroup == nil {
		return nil
	}
	if ptr.Deref(sc.FSGroupChangePolicy, v1.FSGroupChangeAlways) == v1.FSGroupChangeOnRootMismatch {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return err
		}
		if st.Gid == uint32(*sc.FSGroup) && st.Mode&0o070 == 0o070 && st.Mode&unix.S_ISGID != 0 {
			return nil
		}
	}
	if err := setGroup(path, *sc.FSGroup, false); err != nil {
		return fmt.Errorf("giving %s to the group %d (fsGroup): %w", path, *sc.FSGroup, err)
	}
	return nil
}

// nfs mounts a share by the host's own client.
func nfs(ctx context.Context, at string, s *v1.NFSVolumeSource, options []string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if isMount(at) {
		return nil
	}
	helper := slices.IndexFunc([]string{"/sbin", "/usr/sbin"}, func(dir string) bool { return exists(filepath.Join(dir, "mount.nfs")) })
	if helper < 0 {
		return fmt.Errorf("mounting %s:%s: this host has no NFS client (mount.nfs): install the package nfs-common or nfs-utils on it", s.Server, s.Path)
	}
	options = append(slices.Clone(options), "nosuid", "nodev")
	if s.ReadOnly {
		options = append(options, "ro")
	}
	server := s.Server
	if strings.Contains(server, ":") && !strings.HasPrefix(server, "[") {
		server = "[" + server + "]" // nfs(5), of IPv6 addresses
	}
	out, err := exec.CommandContext(ctx, "mount", "-t", "nfs", "-o", strings.Join(options, ","), server+":"+s.Path, at).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mounting %s:%s: %w", s.Server, s.Path, errors.Join(err, errors.New(strings.TrimSpace(string(out)))))
	}
	return nil
}
