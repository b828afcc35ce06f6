package e2e

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

const onlyInRegistry = "registry.example/only-in-registry:v7"

func TestImageIsPulledThroughTheMirrorAndAMissingOneIsReported(t *testing.T) {
	ctx, s := begin(t)
	img, err := images.New(filepath.Join(bin, "web"), "v7")
	if err != nil {
		t.Fatal(err)
	}
	handler, err := images.Registry(map[string]v1.Image{onlyInRegistry: img})
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	if err := s.Do(func() (err error) { listener, err = net.Listen("tcp", fmt.Sprint(":", mirrorPort)); return err }); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })

	run := func(name, image string) {
		t.Helper()
		pods := s.API.CoreV1().Pods(shop.Namespace)
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}, TerminationGracePeriodSeconds: new(int64)},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := afterwards(t)
			if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			if err := s.PodGone(ctx, name); err != nil {
				t.Error(err)
			}
		})
	}
	run("pulled", onlyInRegistry)
	run("missing", "registry.example/nowhere:v1")
	if err := s.Pod(ctx, "pulled", "pull its image and be ready", shop.Ready); err != nil {
		t.Error(err)
	}
	err = s.Pod(ctx, "missing", "say that its image cannot be pulled", func(p *corev1.Pod) bool {
		if len(p.Status.ContainerStatuses) != 1 || p.Status.ContainerStatuses[0].State.Waiting == nil {
			return false
		}
		reason := p.Status.ContainerStatuses[0].State.Waiting.Reason
		return reason == "ErrImagePull" || reason == "ImagePullBackOff"
	})
	if err != nil {
		t.Error(err)
	}
}
