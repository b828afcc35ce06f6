package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/internal/kubelet/volume"
)

// orderInput is what an attempt is made from, as it was when the action began.
type orderInput struct {
	pod       *v1.Pod
	container *v1.Container
	attempt   int
	sandbox   step.Sandbox
	podIPs    []string
	cpus      string // that it may run on
	// target is the container whose processes an ephemeral container is to see, and targetID its ID if it runs.
	target, targetID string
}

// Reasons of failures to create a container.
const (
	configError = "CreateContainerConfigError" // what the Pod asks for cannot be worked out
	createError = "CreateContainerError"       // the node could not do it
)

// errNoImage has the image fetched again.
var errNoImage = errors.New("was removed from the node before the container could be created")

// make creates an attempt, and gives the reason to report if it cannot.
func (w *worker) make(ctx context.Context, in orderInput) (m runtime.Meta, user *v1.ContainerUser, reason string, err error) {
	if err := w.mountImages(ctx, in); err != nil {
		return m, nil, createError, err
	}
	end := trace.Begin(ctx, "create: specification")
	o, err := w.order(ctx, in)
	end()
	m = o.Meta
	if err != nil {
		return m, nil, configError, err
	}
	id := m.ID()
	if err := w.removals.over(ctx, id); err != nil {
		return m, nil, createError, err
	}
	end = trace.Begin(ctx, "create: log")
	streams, err := w.node.Logs.Open(ctx, id, logs.Streams{
		Log: w.node.LogPath(in.pod, in.container.Name, in.attempt), TTY: in.container.TTY, HasStdin: in.container.Stdin,
	})
	end()
	if err != nil {
		return m, nil, createError, err
	}
	end = trace.Begin(ctx, "create: waiting for its turn")
	select {
	case w.node.Creating <- struct{}{}:
		end()
		defer func() { <-w.node.Creating }()
	case <-ctx.Done():
		return m, nil, createError, ctx.Err()
	}
	if err := w.node.Devices.Start(ctx, in.pod, in.container.Name); err != nil {
		return m, nil, createError, err
	}
	o.Runtime, o.Users = in.sandbox.Runtime, in.sandbox.Users
	o.Stdin, o.Stdout, o.Stderr, o.TTY = streams.Stdin(), streams.Stdout(), streams.Stderr(), in.container.TTY
	if err := w.node.Runtime.Create(ctx, o); err != nil {
		if runtime.IsDown(err) || ctx.Err() != nil {
			return m, nil, createError, err
		}
		w.remove(ctx, id)
		if strings.Contains(err.Error(), "OCI runtime create failed") {
			return m, nil, startError, err
		}
		return m, nil, createError, err
	}
	// Logs of the attempt before the last are nobody's any more.
	if in.attempt >= 2 {
		os.Remove(w.node.LogPath(in.pod, in.container.Name, in.attempt-2))
	}
	return m, userOf(o.Spec.Process.User), "", nil
}

// userOf is who a container's first process runs as, as its status reports it (KEP-3619).
func userOf(u specs.User) *v1.ContainerUser {
	groups := []int64{int64(u.GID)}
	for _, g := range u.AdditionalGids {
		groups = append(groups, int64(g))
	}
	slices.Sort(groups)
	return &v1.ContainerUser{Linux: &v1.LinuxContainerUser{UID: int64(u.UID), GID: int64(u.GID), SupplementalGroups: slices.Compact(groups)}}
}

// order works out what containerd is to create.
func (w *worker) order(ctx context.Context, in orderInput) (runtime.Order, error) {
	pod, c := in.pod, in.container
	o := runtime.Order{Meta: runtime.Meta{
		PodUID: string(pod.UID), Name: c.Name, Attempt: in.attempt, SpecHash: lifecycle.SpecHash(c), Sandbox: in.sandbox.ID,
	}}
	full, err := image.Normalize(c.Image)
	if err != nil {
		return o, err
	}
	img, err := w.node.Images.Get(ctx, full)
	if err != nil {
		return o, err
	}
	if img == nil {
		return o, fmt.Errorf("container %s: image %q: %w", c.Name, c.Image, errNoImage)
	}
	o.Image, o.ImageID = img, img.ID

	facts := w.node.Facts()
	facts.PodIPs = in.podIPs
	vars, err := env.Of(pod, c, facts, w.node.Objects.For(ctx, pod.Namespace), w.node.Services(pod.Namespace))
	if err != nil {
		return o, err
	}
	users, err := w.node.Images.Users(ctx, img)
	if err != nil {
		return o, err
	}
	sc := spec.Effective(pod, c)
	user, err := users.Resolve(spec.UserSpec(sc, img.Config.User))
	if err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	if err := spec.CheckNonRoot(sc, user, img.Config); err != nil {
		return o, fmt.Errorf("%w (pod: %q, container: %s)", err, pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", c.Name)
	}
	if err := w.passOn(in); err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	mounts, err := containerMounts(in, vars, sc, w.node.Host.RecursiveReadOnly && runtime.IsUsual(in.sandbox.Runtime))
	if err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	devices, err := containerDevices(in)
	if err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	input := spec.Input{
		Host: w.node.Host, Pod: pod, Container: c, Image: img.Config, User: user, Env: vars, Mounts: mounts, BlockDevices: devices,
		Namespaces: in.sandbox.Namespaces, Users: in.sandbox.Users, Hostname: in.sandbox.Hostname,
		Cgroup: w.node.Cgroups.Container(string(pod.UID), o.ID()), Group: string(pod.UID), CPUs: in.cpus,
	}
	if input.AppArmor, err = w.node.Rules.Modules.AppArmorProfile(pod, c.SecurityContext); err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	input.ProcessLabel, input.FileLabel = w.node.Rules.Modules.Labels(pod, c.SecurityContext)
	if in.target != "" && input.Namespaces.PID == "" {
		if input.Namespaces.PID, err = w.processesOf(ctx, in); err != nil {
			return o, err
		}
	}
	o.Spec, err = spec.Build(input)
	if err == nil {
		err = in.sandbox.Devices[c.Name].Into(o.Spec, w.node.CDIDirs)
	}
	if err != nil {
		return o, fmt.Errorf("container %s: %w", c.Name, err)
	}
	if sc.SeccompProfile != nil && (sc.Privileged == nil || !*sc.Privileged) {
		if o.Spec.Linux.Seccomp, err = w.node.Seccomp(ctx, sc.SeccompProfile, o.Spec); err != nil {
			return o, fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return o, nil
}

// processesOf is the PID namespace of the container that an ephemeral one targets.
func (w *worker) processesOf(ctx context.Context, in orderInput) (string, error) {
	if in.targetID == "" {
		return "", fmt.Errorf("container %s targets container %q, which does not run; it is tried again", in.container.Name, in.target)
	}
	s, err := w.node.Runtime.Get(ctx, in.targetID)
	if err != nil {
		return "", fmt.Errorf("container %s targets container %q: %w", in.container.Name, in.target, err)
	}
	return fmt.Sprintf("/proc/%d/ns/pid", s.PID), nil
}

// containerMounts are the volumes and files that the container sees. recursive says that mounts can be read-only with what is mounted below them.
func containerMounts(in orderInput, vars []env.Var, sc v1.SecurityContext, recursive bool) ([]specs.Mount, error) {
	c, s := in.container, &in.sandbox
	var out []specs.Mount
	taken, mapped := map[string]bool{}, map[string]bool{"/dev/shm": true}
	own := func(destination, source string, readOnly bool) {
		if !taken[destination] {
			out = append(out, bindMount(destination, source, readOnly, private))
		}
	}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		v, ok := s.Volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("mount %s: the Pod has no volume %q", m.MountPath, m.Name)
		}
		if v.Block {
			return nil, fmt.Errorf("mount %s: volume %s is a block device (volumeMode: Block): list it in volumeDevices, not in volumeMounts", m.MountPath, m.Name)
		}
		source := v.Path
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = env.Command([]string{m.SubPathExpr}, vars)[0]
			if strings.Contains(sub, "$(") {
				return nil, fmt.Errorf("mount %s: subPathExpr %q refers to a variable that the container does not have", m.MountPath, m.SubPathExpr)
			}
		}
		if sub != "" {
			source = s.SubPath(c.Name, i)
			if err := volume.SubPath(v.Path, sub, source, !v.FromImage); err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.MountPath, err)
			}
		}
		mount := bindMount(m.MountPath, source, m.ReadOnly || v.ReadOnly, propagation(m.MountPropagation))
		whole, err := lifecycle.RecursiveReadOnly(m, recursive)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.MountPath, err)
		}
		if whole {
			mount.Options = append(mount.Options, "rro")
		}
		out = append(out, mount)
		taken[m.MountPath], mapped[m.MountPath] = true, v.FromImage
	}
	for _, m := range s.Devices[c.Name].Mounts {
		own(m.Container, m.Host, m.ReadOnly)
		taken[m.Container] = true
	}
	readOnly := sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem
	own("/etc/hosts", s.Etc("hosts"), readOnly)
	own("/etc/hostname", s.Etc("hostname"), readOnly)
	own("/etc/resolv.conf", s.Etc("resolv.conf"), readOnly)
	own("/dev/shm", s.Shm(), false)
	if c.TerminationMessagePath != "" {
		file := s.TerminationLog(c.Name, in.attempt)
		if in.attempt > 0 {
			os.Remove(s.TerminationLog(c.Name, in.attempt-1)) // read when that attempt ended
		}
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			return nil, fmt.Errorf("making its termination message file: %w", err)
		}
		if err := os.Chmod(file, 0o666); err != nil { // the container's user may be anybody
			return nil, fmt.Errorf("making its termination message file: %w", err)
		}
		own(c.TerminationMessagePath, file, false)
	}
	if s.Users.Own() {
		if err := mapMounts(in, out, mapped); err != nil {
			return nil, err
		}
	}
	// A mount within another comes after it.
	slices.SortStableFunc(out, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return out, nil
}

func bindMount(destination, source string, readOnly bool, propagation string) specs.Mount {
	access := "rw"
	if readOnly {
		access = "ro"
	}
	return specs.Mount{Destination: destination, Source: source, Type: "bind", Options: []string{"rbind", propagation, access}}
}
