package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// shim is containerd's runtime for runc; it reads the group annotation below.
const shim = "io.containerd.runc.v2"

// GroupAnnotation, in a specification, makes all containers with the same value share one shim process: one per Pod instead of one per
// container spares about 17 MB each and a program start for every container but the first.
const GroupAnnotation = "io.containerd.runc.v2.group"

// Labels by which containers are found again.
const (
	labelPod      = "gitopsd.io/pod-uid"
	labelName     = "gitopsd.io/container"
	labelAttempt  = "gitopsd.io/attempt"
	labelSpecHash = "gitopsd.io/spec-hash"
	labelSandbox  = "gitopsd.io/sandbox"
	labelImageID  = "gitopsd.io/image-id"
)

// Meta identifies a container attempt; it is kept in the container's labels.
type Meta struct {
	PodUID, Name      string
	Attempt           int
	SpecHash, Sandbox string
	ImageID           string
}

// ID of the attempt. It is derived, so that whoever creates the attempt again creates the same one.
func (m Meta) ID() string {
	sum := sha256.Sum256([]byte(m.PodUID + "/" + m.Name + "/" + strconv.Itoa(m.Attempt) + "/" + m.Sandbox))
	return hex.EncodeToString(sum[:])
}

func (m Meta) labels() map[string]string {
	return map[string]string{labelPod: m.PodUID, labelName: m.Name, labelAttempt: strconv.Itoa(m.Attempt),
		labelSpecHash: m.SpecHash, labelSandbox: m.Sandbox, labelImageID: m.ImageID}
}

func metaOf(labels map[string]string) (Meta, bool) {
	n, err := strconv.Atoi(labels[labelAttempt])
	m := Meta{labels[labelPod], labels[labelName], n, labels[labelSpecHash], labels[labelSandbox], labels[labelImageID]}
	return m, err == nil && m.PodUID != "" && m.Name != ""
}

// State of a container as containerd has it.
type State struct {
	Meta
	ID string
	// Created: the task exists and was not started. Running: it was. Neither, with ExitedAt set: it ended. Neither, without: there is no task.
	Created, Running bool
	PID              uint32
	CreatedAt        time.Time
	ExitedAt         time.Time
	ExitStatus       uint32
}

// Order is a container to be created.
type Order struct {
	Meta
	Image                 *image.Image
	Spec                  *specs.Spec
	Stdin, Stdout, Stderr string // pipes; empty for none
	TTY                   bool
	Runtime               string // containerd's name of it; empty for the usual
	Users                 userns.Range
}

// Create makes the container ready to start. What an interrupted call for the same attempt left behind is removed first.
func (r *Runtime) Create(ctx context.Context, o Order) error {
	id := o.ID()
	end := trace.Begin(ctx, "create: record and file system")
	mounts, err := r.reserve(ctx, id, o)
	if errdefs.IsAlreadyExists(err) {
		if err := r.Delete(ctx, id); err != nil {
			return fmt.Errorf("removing what an interrupted creation left of container %s (%s): %w", id, o.Name, err)
		}
		mounts, err = r.reserve(ctx, id, o)
	}
	if err != nil {
		return fmt.Errorf("creating container %s (%s): %w", id, o.Name, err)
	}
	if o.Users.Own() {
		if mounts, err = r.mapRoot(id, mounts, o.Users); err != nil {
			return fmt.Errorf("creating container %s (%s): %w", id, o.Name, err)
		}
	}
	end()
	defer trace.Begin(ctx, "create: shim and runc")()
	_, err = r.Client.TaskService().Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: id, Rootfs: protoMounts(mounts), Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Terminal: o.TTY,
	})
	if err != nil {
		return fmt.Errorf("creating container %s (%s): %w", id, o.Name, errgrpc.ToNative(err))
	}
	return nil
}

// reserve makes the container's record and its file system, both at once: each is a transaction that waits for the disk.
func (r *Runtime) reserve(ctx context.Context, id string, o Order) ([]mount.Mount, error) {
	spec, err := typeurl.MarshalAny(o.Spec)
	if err != nil {
		return nil, err
	}
	kind := containers.RuntimeInfo{Name: cmp.Or(o.Runtime, shim)}
	if o.Users.Own() {
		// The pipes that the container writes to are its root's, who may hand them on.
		if kind.Options, err = typeurl.MarshalAny(&options.Options{IoUid: o.Users.First, IoGid: o.Users.First}); err != nil {
			return nil, err
		}
	}
	var mounts []mount.Mount
	var g errgroup.Group
	g.Go(func() error {
		_, err := r.Client.ContainerService().Create(ctx, containers.Container{
			ID: id, Labels: o.labels(), Image: o.Image.Ref, Runtime: kind, Spec: spec,
			Snapshotter: image.Snapshotter, SnapshotKey: id,
		})
		return err
	})
	g.Go(func() (err error) {
		// The label keeps containerd's collector off the snapshot until the record that refers to it is written.
		mounts, err = r.Client.SnapshotService(image.Snapshotter).Prepare(ctx, id, o.Image.Chain, snapshots.WithLabels(map[string]string{
			"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339), labelPod: o.PodUID,
		}))
		return err
	})
	return mounts, g.Wait()
}

func protoMounts(ms []mount.Mount) []*types.Mount {
	out := make([]*types.Mount, 0, len(ms))
	for _, m := range ms {
		out = append(out, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}

// Start starts the process of a created container; starting a running one is no error.
func (r *Runtime) Start(ctx context.Context, id string) error {
	_, err := r.Client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("starting container %s: %w", id, err)
	}
	return nil
}

// Signal sends a signal to the container's first process, or to all of them; a container that has ended is no error.
func (r *Runtime) Signal(ctx context.Context, id string, sig unix.Signal, all bool) error {
	_, err := r.Client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("sending %v to container %s: %w", sig, id, err)
	}
	return nil
}

// Update changes the resources of a running container; one that has ended is no error.
func (r *Runtime) Update(ctx context.Context, id string, resources *specs.LinuxResources) error {
	encoded, err := typeurl.MarshalAny(resources)
	if err != nil {
		return err
	}
	_, err = r.Client.TaskService().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: typeurl.MarshalProto(encoded)})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("changing the resources of container %s: %w", id, err)
	}
	return nil
}

// DeleteTask removes a container's task, killing what still runs in it. Once it returns, everything the container wrote is in its pipes.
// It leaves the record: see Delete.
func (r *Runtime) DeleteTask(ctx context.Context, id string) error {
	svc := r.Client.TaskService()
	_, err := svc.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	// Most likely it still runs; daemons of different versions say so in different ways.
	if err := r.Signal(ctx, id, unix.SIGKILL, true); err != nil {
		return err
	}
	if _, err := svc.Wait(ctx, &tasks.WaitRequest{ContainerID: id}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return fmt.Errorf("waiting for container %s to end: %w", id, errgrpc.ToNative(err))
	}
	_, err = svc.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the task of container %s: %w", id, err)
	}
	return nil
}

// Delete removes a container altogether: task, record and file system. What is gone already is no error.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if err := r.DeleteTask(ctx, id); err != nil {
		return err
	}
	if err := r.Client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting container %s: %w", id, err)
	}
	if err := r.unmapRoot(id); err != nil {
		return err
	}
	if err := r.Client.SnapshotService(image.Snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the file system of container %s: %w", id, err)
	}
	r.removedSome()
	return nil
}

// List gives every container of the node, from containerd's records and its tasks.
func (r *Runtime) List(ctx context.Context) ([]State, error) {
	records, err := r.Client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	list, err := r.Client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing tasks: %w", errgrpc.ToNative(err))
	}
	byID := map[string]*tasktypes.Process{}
	for _, t := range list.Tasks {
		byID[t.ID] = t
	}
	out := make([]State, 0, len(records))
	for _, rec := range records {
		m, ok := metaOf(rec.Labels)
		if !ok {
			continue
		}
		s := State{Meta: m, ID: rec.ID, CreatedAt: rec.CreatedAt}
		s.set(byID[rec.ID])
		out = append(out, s)
	}
	return out, nil
}

// Get gives the state of one container; errdefs.IsNotFound tells that there is none.
func (r *Runtime) Get(ctx context.Context, id string) (State, error) {
	rec, err := r.Client.ContainerService().Get(ctx, id)
	if err != nil {
		return State{}, fmt.Errorf("container %s: %w", id, err)
	}
	m, _ := metaOf(rec.Labels)
	s := State{Meta: m, ID: id, CreatedAt: rec.CreatedAt}
	t, err := r.Client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return State{}, fmt.Errorf("container %s: %w", id, err)
	}
	if err == nil {
		s.set(t.Process)
	}
	return s, nil
}

func (s *State) set(t *tasktypes.Process) {
	if t == nil {
		return
	}
	s.PID = t.Pid
	switch t.Status {
	case tasktypes.Status_CREATED:
		s.Created = true
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		s.Running = true
	default:
		s.ExitStatus, s.ExitedAt = t.ExitStatus, t.ExitedAt.AsTime()
	}
}

// Written says how many bytes a container wrote to its own file system, and how many inodes it made there; zero if that cannot be found out.
func (r *Runtime) Written(ctx context.Context, id string) (bytes, inodes int64) {
	u, err := r.Client.SnapshotService(image.Snapshotter).Usage(ctx, id)
	if err != nil {
		return 0, 0 // it is gone, most likely
	}
	return u.Size, u.Inodes
}

// RemoveStraySnapshots deletes the file systems that daemons before this one have made, and of which no container is there.
func (r *Runtime) RemoveStraySnapshots(ctx context.Context) error {
	sn := r.Client.SnapshotService(image.Snapshotter)
	var found []snapshots.Info
	err := sn.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		found = append(found, i)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing file systems of containers: %w", err)
	}
	containers, err := r.List(ctx)
	if err != nil {
		return err
	}
	stray := strays(found, containers, r.began)
	for _, id := range stray {
		if rerr := sn.Remove(ctx, id); rerr != nil && !errdefs.IsNotFound(rerr) {
			err = rerr
		}
	}
	if len(stray) > 0 {
		r.removedSome()
	}
	if err != nil {
		return fmt.Errorf("removing file systems of containers that are gone: %w", err)
	}
	return nil
}

// strays are the file systems that Pods' containers had. One that this daemon has made since it began may have no container yet: the two are made side by side.
func strays(found []snapshots.Info, containers []State, began time.Time) []string {
	live := map[string]bool{}
	for _, c := range containers {
		live[c.ID] = true
	}
	var out []string
	for _, i := range found {
		if i.Labels[labelPod] != "" && i.Created.Before(began) && !live[i.Name] {
			out = append(out, i.Name)
		}
	}
	return out
}
