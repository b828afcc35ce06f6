package pod

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
)

// image makes a container's image present, and those of the volumes that it mounts.
func (w *worker) image(ctx context.Context, name string) {
	c := w.container(name)
	c.Busy = lifecycle.Image
	spc, pod := c.spec, w.pod
	go func() {
		defer trace.Begin(ctx, "image")()
		_, err := w.pull(ctx, pod, name, spc.Image, spc.ImagePullPolicy)
		var volumes map[string]string
		if err == nil {
			volumes, err = w.pullVolumes(ctx, pod, spc)
		}
		w.tell(func() {
			c := w.container(name)
			c.Busy = lifecycle.None
			maps.Copy(w.imageVolumes, volumes)
			if err == nil {
				c.ImageReady, c.Failure = true, nil
				return
			}
			if ctx.Err() != nil {
				return
			}
			reason := "ErrImagePull"
			var ie *image.Error
			if errors.As(err, &ie) {
				reason = ie.Reason
			}
			w.containerFailed(c, name, reason, err)
		})
	}()
}

// pull makes an image present and tells of it in events, of a container or, without one, of the Pod.
func (w *worker) pull(ctx context.Context, pod *v1.Pod, container, ref string, policy v1.PullPolicy) (*image.Image, error) {
	asked := false
	res, err := w.node.Images.Ensure(ctx, ref, policy, w.account(ctx, pod), func() (image.Keyring, error) {
		asked = true
		w.tell(func() { w.event(container, v1.EventTypeNormal, "Pulling", "Pulling image %q", ref) })
		return w.keyring(ctx, pod)
	}, func(p image.Progress) {
		w.tell(func() {
			w.event(container, v1.EventTypeNormal, "Pulling", "Pulling image %q: %s of %s after %s", ref, humanize.Bytes(uint64(p.Done)), humanize.Bytes(uint64(p.Total)), p.Took.Round(time.Second))
		})
	})
	w.tell(func() {
		var ie *image.Error
		switch {
		case err == nil && res.Pulled:
			w.event(container, v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %s (%s including waiting). Image size: %s.",
				ref, (res.Took - res.Waited).Round(time.Millisecond), res.Took.Round(time.Millisecond), humanize.Bytes(uint64(res.Image.Size)))
		case err == nil:
			w.event(container, v1.EventTypeNormal, "Pulled", "Container image %q already present on machine", ref)
		case ctx.Err() != nil:
		case !asked && errors.As(err, &ie):
			w.event(container, v1.EventTypeWarning, reasonEvent(ie.Reason), "%v", err)
		default:
			w.event(container, v1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", ref, err)
		}
	})
	return res.Image, err
}

// tokenSeconds is for how long a plugin's token is good: the shortest that the API gives.
const tokenSeconds = 600

// account is the ServiceAccount that a Pod's images are pulled for; nil for a static Pod, which has none.
func (w *worker) account(ctx context.Context, pod *v1.Pod) *image.Account {
	if isStatic(pod) || pod.Spec.ServiceAccountName == "" {
		return nil
	}
	objects := w.node.Objects.For(ctx, pod.Namespace)
	return &image.Account{
		Get:   func() (*v1.ServiceAccount, error) { return objects.ServiceAccount(pod.Spec.ServiceAccountName) },
		Token: func(audience string) (string, error) { return objects.Token(ctx, pod, audience, tokenSeconds) },
	}
}

// pullVolumes makes the images of the volumes that a container mounts present, and says which they are, by the volumes' names. A volume keeps the image that it got first.
func (w *worker) pullVolumes(ctx context.Context, pod *v1.Pod, c *v1.Container) (map[string]string, error) {
	ids := map[string]string{}
	sandbox := step.Sandbox{Dir: w.dir}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image == nil || !slices.ContainsFunc(c.VolumeMounts, func(m v1.VolumeMount) bool { return m.Name == v.Name }) {
			continue
		}
		id, err := w.node.Images.VolumeID(ctx, string(pod.UID), v.Name)
		if err != nil {
			return ids, err
		}
		if id == "" {
			img, err := w.pull(ctx, pod, "", v.Image.Reference, v.Image.PullPolicy)
			if err != nil {
				return ids, fmt.Errorf("volume %q: %w", v.Name, err)
			}
			if err := w.node.Images.MakeVolume(ctx, string(pod.UID), v.Name, sandbox.ImageVolume(v.Name), img); err != nil {
				return ids, err
			}
			id = img.ID
		}
		ids[v.Name] = id
	}
	return ids, nil
}

// mountImages mounts the image volumes that a container is to see.
func (w *worker) mountImages(ctx context.Context, in orderInput) error {
	for i := range in.container.VolumeMounts {
		name := in.container.VolumeMounts[i].Name
		if v := in.sandbox.Volumes[name]; v.FromImage {
			if err := w.node.Images.MountVolume(ctx, string(in.pod.UID), name, v.Path, in.sandbox.Users); err != nil {
				return err
			}
		}
	}
	return nil
}

// reasonEvent is the event that goes with a failure to get an image without asking a registry.
func reasonEvent(reason string) string {
	switch reason {
	case "InvalidImageName":
		return "InspectFailed"
	case "ErrImageNeverPull":
		return "ErrImageNeverPull"
	}
	return "Failed"
}

// keyring reads the Pod's pull secrets. One that is missing is passed over, as the image may be public.
func (w *worker) keyring(ctx context.Context, pod *v1.Pod) (image.Keyring, error) {
	var secrets []*v1.Secret
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := w.node.Objects.For(ctx, pod.Namespace).Secret(ref.Name)
		if apierrors.IsNotFound(err) {
			w.tell(func() {
				w.event("", v1.EventTypeWarning, "FailedToRetrieveImagePullSecret", "Unable to retrieve image pull secret %s/%s; the image is pulled without it", pod.Namespace, ref.Name)
			})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("pull secret %s/%s: %w", pod.Namespace, ref.Name, err)
		}
		secrets = append(secrets, s)
	}
	return image.ParseKeyring(secrets)
}
