package kubelet

import (
	"context"
	"fmt"
	"path/filepath"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/kubelet/disks"
	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/lsm"
	"github.com/gitopsd/gitopsd/internal/kubelet/podcert"
	"github.com/gitopsd/gitopsd/internal/kubelet/reference"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trust"
	"github.com/gitopsd/gitopsd/internal/pv/disk"
)

// volumes is the step that makes Pods' volumes, with what they are made from. Where that is watched, a change reaches the Pods concerned at once.
func (d *daemon) volumes(ctx context.Context, objects *reference.Objects, recorder record.EventRecorder) step.Volumes {
	return step.Volumes{
		Objects: objects,
		Facts:   func() env.Facts { return d.facts },
		Images:  d.images,
		Disks:   d.disks,
		Drivers: d.drivers,
		Mounted: d.disks.Mounted,
		Bundles: &trust.Bundles{
			Informers: d.informers, Until: ctx,
			Changed: func() { d.pods.SourcesChanged(trustsBundles) },
		},
		Certificates: &podcert.Store{
			Client: d.client, Recorder: recorder, NodeName: d.cfg.Name, Informers: d.informers, Until: ctx,
			Node:     d.stored,
			Answered: func(uid types.UID) { d.pods.SourcesChanged(func(p *v1.Pod) bool { return p.UID == uid }) },
		},
	}
}

// openDisks makes what looks after the volumes on the node's own disk.
func (d *daemon) openDisks(api *rest.Config, recorder record.EventRecorder) error {
	api.ContentType, api.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // custom resources have no protobuf form
	snapshots, err := snapshotclient.NewForConfig(api)
	if err != nil {
		return fmt.Errorf("client of VolumeSnapshots: %w", err)
	}
	d.disks = &disks.Disks{
		Client: d.client, Snapshots: snapshots, Node: d.cfg.Name, Store: &disk.Store{Dir: volumesDir(d.cfg.DataDir)}, Events: recorder, Stored: d.stored,
		Pods: func() []*v1.Pod { return d.pods.List() },
	}
	d.disks.Start()
	return nil
}

// openDrivers makes what looks after storage drivers and their volumes.
func (d *daemon) openDrivers(objects *reference.Objects, recorder record.EventRecorder, modules lsm.Host) error {
	d.drivers = &csi.Node{
		Client: d.client, Name: d.cfg.Name, Root: d.cfg.KubeletDir, Events: recorder, Stored: d.stored, InUseChanged: d.poke,
		Token: objects.Token, Grown: d.disks.Grown,
		Label: func(p *v1.Pod) string {
			_, files := modules.Labels(p, nil)
			return files
		},
	}
	return d.drivers.Open()
}

// figures are how full the volumes of a Pod's claims are.
func (d *daemon) figures(p *v1.Pod) []statsv1.VolumeStats {
	return append(d.disks.Stats(p), d.drivers.Stats(p)...)
}

// volumesDir is where the data of the node's own volumes is, below its data directory.
func volumesDir(dataDir string) string { return filepath.Join(dataDir, "volumes") }

// trustsBundles tells whether a volume of the Pod is made from ClusterTrustBundles.
func trustsBundles(p *v1.Pod) bool {
	for i := range p.Spec.Volumes {
		v := p.Spec.Volumes[i].Projected
		if v == nil {
			continue
		}
		for j := range v.Sources {
			if v.Sources[j].ClusterTrustBundle != nil {
				return true
			}
		}
	}
	return false
}
