package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/cli"
)

func newVolumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Show volumes and their snapshots, take snapshots, and begin new claims with them",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newVolumeListCommand(), newVolumeSnapshotCommand(), newVolumeRestoreCommand())
	return cmd
}

// volumes is what the commands about volumes have in common.
type volumes struct {
	connection
	core      kubernetes.Interface
	snapshots snapshotclient.Interface
}

func (v *volumes) open() error {
	config, err := v.config()
	if err != nil {
		return err
	}
	if v.core, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	v.snapshots, err = snapshotclient.NewForConfig(config)
	return err
}

// one is the namespace of commands about one object.
func (v *volumes) one() string {
	if v.namespace == "" {
		return metav1.NamespaceDefault
	}
	return v.namespace
}

func newVolumeListCommand() *cobra.Command {
	var v volumes
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "Show claims with their volumes, and the snapshots that there are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := cli.ParseFormat(v.output)
			if err != nil {
				return err
			}
			if err := v.open(); err != nil {
				return err
			}
			claims, err := v.core.CoreV1().PersistentVolumeClaims(v.namespace).List(cmd.Context(), metav1.ListOptions{})
			if err != nil {
				return explainAPI(err)
			}
			disks, err := v.core.CoreV1().PersistentVolumes().List(cmd.Context(), metav1.ListOptions{})
			if err != nil {
				return explainAPI(err)
			}
			snapshots, err := v.snapshots.SnapshotV1().VolumeSnapshots(v.namespace).List(cmd.Context(), metav1.ListOptions{})
			if err != nil && !apierrors.IsNotFound(err) { // a control plane without the kind has none
				return explainAPI(err)
			}
			return cli.WriteVolumes(os.Stdout, cli.NewVolumesReport(claims.Items, disks.Items, snapshots.Items), format, time.Now(), colour(os.Stdout))
		},
	}
	v.register(cmd.Flags())
	v.registerOutput(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "namespace of the claims (default: all)"
	return cmd
}

func newVolumeSnapshotCommand() *cobra.Command {
	var v volumes
	var name, class string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "snapshot CLAIM",
		Short: "Take a snapshot of a claim's volume, and wait until it can be used",
		Long: `Takes a snapshot of a claim's volume, a VolumeSnapshot, and waits until it can be used. Pods may go on using the volume: the snapshot holds what a crash at
that moment would have left.`,
		Example: `  gitopsd volume snapshot data-db-0 -n shop
  gitopsd volume snapshot data-db-0 -n shop --name before-upgrade`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.open(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			claim := args[0]
			if _, err := v.core.CoreV1().PersistentVolumeClaims(v.one()).Get(ctx, claim, metav1.GetOptions{}); apierrors.IsNotFound(err) {
				return fmt.Errorf("there is no claim %s in namespace %s; gitopsd volume ls shows those that there are", claim, v.one())
			} else if err != nil {
				return explainAPI(err)
			}
			if name == "" {
				name = claim + time.Now().UTC().Format("-20060102-150405")
			}
			s := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: &claim}}}
			if class != "" {
				s.Spec.VolumeSnapshotClassName = &class
			}
			s, err := v.take(ctx, s)
			if err != nil {
				return err
			}
			fmt.Printf("snapshot %s of claim %s is ready: %s, %s\n", s.Name, claim, s.Status.RestoreSize, s.Status.CreationTime.UTC().Format(time.RFC3339))
			return nil
		},
	}
	v.register(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "namespace of the claim (default: default)"
	cmd.Flags().StringVar(&name, "name", "", "name of the snapshot (default: the claim's, and the time)")
	cmd.Flags().StringVar(&class, "class", "", "VolumeSnapshotClass (default: the default one of the volume's driver)")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait; the snapshot is taken all the same")
	return cmd
}

// take makes a VolumeSnapshot and waits until it is ready.
func (v *volumes) take(ctx context.Context, s *snapshotv1.VolumeSnapshot) (*snapshotv1.VolumeSnapshot, error) {
	api := v.snapshots.SnapshotV1().VolumeSnapshots(v.one())
	made, err := api.Create(ctx, s, metav1.CreateOptions{FieldManager: "gitopsd-cli"})
	if err != nil {
		return nil, fmt.Errorf("taking snapshot %s: %w", s.Name, err)
	}
	last := "nobody has said anything about it yet"
	for {
		w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", made.Name).String()})
		if err != nil && ctx.Err() == nil {
			return nil, explainAPI(err)
		}
		if err == nil {
			for e := range w.ResultChan() {
				got, ok := e.Object.(*snapshotv1.VolumeSnapshot)
				switch {
				case e.Type == watch.Error:
					w.Stop()
					return nil, explainAPI(apierrors.FromObject(e.Object))
				case e.Type == watch.Deleted:
					w.Stop()
					return nil, fmt.Errorf("snapshot %s was deleted before it was ready: %s", made.Name, last)
				case !ok || got.Status == nil:
				case ptr.Deref(got.Status.ReadyToUse, false):
					w.Stop()
					return got, nil
				case got.Status.Error != nil:
					last = ptr.Deref(got.Status.Error.Message, "")
				}
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("snapshot %s is not ready yet: %s", made.Name, last)
		}
	}
}

func newVolumeRestoreCommand() *cobra.Command {
	var v volumes
	var class string
	cmd := &cobra.Command{
		Use:   "restore SNAPSHOT [CLAIM]",
		Short: "Make a claim that begins with a snapshot",
		Long: `Makes a claim that begins with what a snapshot holds. Without CLAIM it has the name of the claim that the snapshot was taken of, which must be gone by then: nothing is
written over. To put a database back: scale it to zero, delete its claim, restore, scale it up. A claim that is in Git is made from there at the next look; suspend
its Application before (gitopsd suspend).`,
		Example: `  gitopsd volume restore before-upgrade look -n shop
  gitopsd volume restore before-upgrade -n shop`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.open(); err != nil {
				return err
			}
			s, err := v.snapshots.SnapshotV1().VolumeSnapshots(v.one()).Get(cmd.Context(), args[0], metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return fmt.Errorf("there is no snapshot %s in namespace %s; gitopsd volume ls shows those that there are", args[0], v.one())
			case err != nil:
				return explainAPI(err)
			}
			name := ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, "")
			if len(args) > 1 {
				name = args[1]
			}
			claim, err := v.beginning(cmd.Context(), s, name, class)
			if err != nil {
				return err
			}
			_, err = v.core.CoreV1().PersistentVolumeClaims(v.one()).Create(cmd.Context(), claim, metav1.CreateOptions{FieldManager: "gitopsd-cli"})
			if apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("claim %s exists, and nothing is written over: name another, or end the Pods that use it and delete it first", name)
			}
			if err != nil {
				return explainAPI(err)
			}
			fmt.Printf("claim %s begins with snapshot %s: its volume is made when a Pod uses it\n", name, s.Name)
			return nil
		},
	}
	v.register(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "namespace of the snapshot and the claim (default: default)"
	cmd.Flags().StringVar(&class, "class", "", "StorageClass of the claim (default: that of the claim that the snapshot was taken of, or the default one)")
	return cmd
}

// beginning is a claim that begins with a snapshot. What it can, it takes from the claim that the snapshot was taken of.
func (v *volumes) beginning(ctx context.Context, s *snapshotv1.VolumeSnapshot, name, class string) (*corev1.PersistentVolumeClaim, error) {
	switch {
	case name == "":
		return nil, errors.New("name the claim: the snapshot does not say of which one it was taken")
	case s.Status == nil || !ptr.Deref(s.Status.ReadyToUse, false) || s.Status.RestoreSize == nil:
		return nil, fmt.Errorf("snapshot %s is not ready to use; kubectl describe volumesnapshot -n %s %s says why", s.Name, v.one(), s.Name)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			DataSource:  &corev1.TypedLocalObjectReference{APIGroup: ptr.To(snapshotv1.GroupName), Kind: "VolumeSnapshot", Name: s.Name},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s.Status.RestoreSize.String())}},
		},
	}
	if of := s.Spec.Source.PersistentVolumeClaimName; of != nil {
		was, err := v.core.CoreV1().PersistentVolumeClaims(v.one()).Get(ctx, *of, metav1.GetOptions{})
		if err == nil {
			claim.Labels, claim.Spec.AccessModes, claim.Spec.StorageClassName, claim.Spec.VolumeMode = was.Labels, was.Spec.AccessModes, was.Spec.StorageClassName, was.Spec.VolumeMode
		} else if !apierrors.IsNotFound(err) {
			return nil, explainAPI(err)
		}
	}
	if content := s.Status.BoundVolumeSnapshotContentName; content != nil {
		if c, err := v.snapshots.SnapshotV1().VolumeSnapshotContents().Get(ctx, *content, metav1.GetOptions{}); err == nil && c.Spec.SourceVolumeMode != nil {
			claim.Spec.VolumeMode = c.Spec.SourceVolumeMode
		}
	}
	if class != "" {
		claim.Spec.StorageClassName = &class
	}
	return claim, nil
}
