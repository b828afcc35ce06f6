package server_test

import (
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestAnEventIsForgottenAnHourAfterItsLastWriteAndNothingElseIs(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	namespace(t, k, "shop")
	event := must[*corev1.Event](t)(k.CoreV1().Events("shop").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "started"}, InvolvedObject: corev1.ObjectReference{Namespace: "shop", Kind: "Pod", Name: "web"}, Reason: "Started",
	}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(k.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}))
	etcd := must[*clientv3.Client](t)(clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(c.Dir, "etcd", "client.sock")}}))
	defer etcd.Close()
	// left is for how many seconds etcd still keeps the object; -1: for good.
	left := func(key string) int64 {
		t.Helper()
		r := must[*clientv3.GetResponse](t)(etcd.Get(t.Context(), "/registry/"+key))
		if len(r.Kvs) != 1 {
			t.Fatalf("%d objects are stored under %s", len(r.Kvs), key)
		}
		if r.Kvs[0].Lease == 0 {
			return -1
		}
		return must[*clientv3.LeaseTimeToLiveResponse](t)(etcd.TimeToLive(t.Context(), clientv3.LeaseID(r.Kvs[0].Lease))).TTL
	}
	// The library shares leases between objects written at about the same time, and makes them a little longer for that.
	if ttl := left("events/shop/started"); ttl < 3500 || ttl > 3800 {
		t.Errorf("the Event is kept for %d s, want about 3600", ttl)
	}
	event.Count = 2
	must[*corev1.Event](t)(k.CoreV1().Events("shop").Update(t.Context(), event, metav1.UpdateOptions{}))
	if ttl := left("events/shop/started"); ttl < 3500 || ttl > 3800 {
		t.Errorf("after another write the Event is kept for %d s, want about 3600", ttl)
	}
	if ttl := left("configmaps/shop/kept"); ttl != -1 {
		t.Errorf("a ConfigMap is kept for %d s only", ttl)
	}
}
