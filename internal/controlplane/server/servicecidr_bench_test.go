package server_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// BenchmarkServices creates Services that are given a cluster IP each, and for comparison such that are given none.
func BenchmarkServices(b *testing.B) {
	c := servertest.Start(b)
	config := rest.CopyConfig(c.System)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(b.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	services := client.CoreV1().Services("shop")
	var n atomic.Int64
	for name, do := range map[string]func(string) error{
		"create": func(name string) error {
			_, err := services.Create(b.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
			return err
		},
		"create-headless": func(name string) error {
			_, err := services.Create(b.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "None"}}, metav1.CreateOptions{})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := do(fmt.Sprintf("s-%d", n.Add(1))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
