package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// VolumesReport is what `gitopsd volume ls` shows.
type VolumesReport struct {
	Claims    []ClaimReport    `json:"claims"`
	Snapshots []SnapshotReport `json:"snapshots"`
}

// ClaimReport is a claim and its volume.
type ClaimReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Phase     string `json:"phase"`
	Size      string `json:"size,omitempty"`
	Class     string `json:"class,omitempty"`
	Volume    string `json:"volume,omitempty"`
	Node      string `json:"node,omitempty"` // that has it on its disk
	Path      string `json:"path,omitempty"` // there
	Snapshots int    `json:"snapshots"`
}

// SnapshotReport is a VolumeSnapshot.
type SnapshotReport struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Claim     string     `json:"claim,omitempty"`
	Ready     bool       `json:"ready"`
	Size      string     `json:"size,omitempty"`
	Taken     *time.Time `json:"taken,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// NewVolumesReport puts together what there is.
func NewVolumesReport(claims []corev1.PersistentVolumeClaim, volumes []corev1.PersistentVolume, snapshots []snapshotv1.VolumeSnapshot) VolumesReport {
	r := VolumesReport{Claims: []ClaimReport{}, Snapshots: []SnapshotReport{}}
	type name struct{ namespace, name string }
	of, disks := map[name]int{}, map[string]*corev1.PersistentVolume{}
	for i := range volumes {
		disks[volumes[i].Name] = &volumes[i]
	}
	for i := range snapshots {
		s := &snapshots[i]
		row := SnapshotReport{Namespace: s.Namespace, Name: s.Name, Claim: ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, "")}
		of[name{s.Namespace, row.Claim}]++
		if status := s.Status; status != nil {
			row.Ready = ptr.Deref(status.ReadyToUse, false)
			if status.RestoreSize != nil {
				row.Size = status.RestoreSize.String()
			}
			if status.CreationTime != nil {
				row.Taken = &status.CreationTime.Time
			}
			if status.Error != nil {
				row.Error = ptr.Deref(status.Error.Message, "")
			}
		}
		r.Snapshots = append(r.Snapshots, row)
	}
	for i := range claims {
		c := &claims[i]
		row := ClaimReport{
			Namespace: c.Namespace, Name: c.Name, Phase: string(c.Status.Phase), Class: ptr.Deref(c.Spec.StorageClassName, ""), Volume: c.Spec.VolumeName,
			Snapshots: of[name{c.Namespace, c.Name}],
		}
		if size, ok := c.Status.Capacity[corev1.ResourceStorage]; ok {
			row.Size = size.String()
		}
		if v := disks[c.Spec.VolumeName]; v != nil && pv.IsLocal(v) {
			row.Node, row.Path = v.Labels[pv.NodeLabel], v.Spec.Local.Path
		}
		r.Claims = append(r.Claims, row)
	}
	slices.SortFunc(r.Claims, func(a, b ClaimReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(r.Snapshots, func(a, b SnapshotReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Claim, b.Claim), cmp.Compare(a.Name, b.Name))
	})
	return r
}

// WriteVolumes writes claims, and then snapshots.
func WriteVolumes(w io.Writer, r VolumesReport, f Format, now time.Time, colour bool) error {
	if f != Table {
		return encode(w, f, r)
	}
	p := &printer{w: w, colour: colour}
	if len(r.Claims)+len(r.Snapshots) == 0 {
		p.print("There are no claims and no snapshots.\n")
		return p.err
	}
	var claims, snapshots table
	claims.header("NAMESPACE", "CLAIM", "STATUS", "SIZE", "CLASS", "SNAPSHOTS", "NODE", "PATH")
	for _, c := range r.Claims {
		phase := cell{c.Phase, Green}
		if c.Phase != string(corev1.ClaimBound) {
			phase.style = Yellow
		}
		claims.add(plain(c.Namespace), plain(c.Name), phase, plain(orDash(c.Size)), plain(orDash(c.Class)), plain(fmt.Sprint(c.Snapshots)), plain(orDash(c.Node)), plain(orDash(c.Path)))
	}
	claims.write(p)
	if len(r.Snapshots) == 0 {
		return p.err
	}
	p.print("\n")
	snapshots.header("NAMESPACE", "SNAPSHOT", "CLAIM", "READY", "SIZE", "TAKEN")
	for _, s := range r.Snapshots {
		ready := cell{"yes", Green}
		if !s.Ready {
			ready = cell{cmp.Or(oneLine(s.Error, 120), "not yet"), Yellow}
		}
		snapshots.add(plain(s.Namespace), plain(s.Name), plain(orDash(s.Claim)), ready, plain(orDash(s.Size)), plain(ago(s.Taken, now)))
	}
	snapshots.write(p)
	return p.err
}
