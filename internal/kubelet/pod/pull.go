package pod

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// image makes a container's image present.
func (w *worker) image(ctx context.Context, name string) {
	c := w.container(name)
	c.Busy = lifecycle.Image
	spc, pod := c.spec, w.pod
	go func() {
		asked := false
		res, err := w.node.Images.Ensure(ctx, spc.Image, spc.ImagePullPolicy, func() (image.Keyring, error) {
			asked = true
			w.tell(func() { w.event(name, v1.EventTypeNormal, "Pulling", "Pulling image %q", spc.Image) })
			return w.keyring(ctx, pod)
		})
		w.tell(func() {
			c := w.container(name)
			c.Busy = lifecycle.None
			switch {
			case err == nil && res.Pulled:
				w.event(name, v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %s. Image size: %s.",
					spc.Image, res.Took.Round(time.Millisecond), humanize.Bytes(uint64(res.Image.Size)))
			case err == nil:
				w.event(name, v1.EventTypeNormal, "Pulled", "Container image %q already present on machine", spc.Image)
			}
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
			if asked {
				w.event(name, v1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", spc.Image, err)
			} else {
				w.event(name, v1.EventTypeWarning, reasonEvent(reason), "%v", err)
			}
			w.containerFailed(c, name, reason, err)
		})
	}()
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
