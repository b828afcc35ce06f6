package server_test

import (
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// The watch cache is a moment late; a get that does not say otherwise must not be.
func TestAGetSeesEveryWriteThatWasAcknowledgedBefore(t *testing.T) {
	c := servertest.Start(t)
	k := kubernetes.NewForConfigOrDie(c.System)
	if _, err := k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			maps, secrets := k.CoreV1().ConfigMaps("n"), k.CoreV1().Secrets("n")
			name := fmt.Sprint("w", w)
			for i := range 60 {
				m, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"i": fmt.Sprint(i)}}, metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := maps.Get(t.Context(), name, metav1.GetOptions{}); err != nil || !equality.Semantic.DeepEqual(got, m) {
					t.Errorf("after a create: %v, %v, want %v", got, err, m)
				}
				m.Data["i"] = "changed"
				if m, err = maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
					t.Error(err)
					return
				}
				if got, err := maps.Get(t.Context(), name, metav1.GetOptions{}); err != nil || !equality.Semantic.DeepEqual(got, m) {
					t.Errorf("after an update: %v, %v, want %v", got, err, m)
				}
				if err := maps.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
				if got, err := maps.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("after a deletion: %v, %v, want not found", got, err)
				}
			}
			s, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"a": []byte("b")}}, metav1.CreateOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				if got, err := secrets.Get(t.Context(), name, metav1.GetOptions{}); err != nil || !equality.Semantic.DeepEqual(got, s) {
					t.Errorf("an encrypted object: %v, %v, want %v", got, err, s)
				}
			}
		})
	}
	writers.Wait()
}
