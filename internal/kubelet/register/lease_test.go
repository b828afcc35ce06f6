package register

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestTheLeaseIsRenewedASecondAfterAnHourWithoutTheAPI(t *testing.T) {
	var told bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&told, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		c := fake.NewClientset()
		c.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			if away.Load() {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go RenewLease(ctx, c, func() *v1.Node { return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}} })
		time.Sleep(time.Minute)
		away.Store(true)
		time.Sleep(time.Hour)
		away.Store(false)
		time.Sleep(renewRetry)
		synctest.Wait()
		lease, err := c.CoordinationV1().Leases(v1.NamespaceNodeLease).Get(t.Context(), "n", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(lease.Spec.RenewTime.Time); age > renewRetry {
			t.Errorf("it was renewed %s ago", age)
		}
		if n := strings.Count(told.String(), "\n"); n != 2 { // that it fails, and that it does so no longer
			t.Errorf("%d lines were logged:\n%s", n, told.String())
		}
	})
}
