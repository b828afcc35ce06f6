package controllerstest

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// Env is a cluster without controllers.
type Env struct {
	Ctx       context.Context
	Cluster   *servertest.Cluster
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
	Factory   informers.SharedInformerFactory
	Events    record.EventRecorder
}

// Quiet leaves out log lines unless the tests are run with -v: a client that ends in the middle of a request is an error to the server's library, and
// told at length. Only the first call counts, since the logger belongs to the process, and servers of earlier tests may still be using it.
var Quiet = sync.OnceFunc(func() {
	if !testing.Verbose() {
		logging.Setup(io.Discard, slog.LevelError)
	}
})

// New starts an API server for the time of the test, with the Namespaces every cluster has.
func New(t testing.TB) *Env {
	t.Helper()
	Quiet()
	e := &Env{Cluster: servertest.Start(t)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	e.Ctx = ctx
	typed := rest.CopyConfig(e.Cluster.System)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	e.Client = must(kubernetes.NewForConfig(typed))(t)
	e.Metadata = must(metadata.NewForConfig(e.Cluster.System))(t)
	e.Discovery = e.Client.Discovery()
	e.Factory = informers.NewSharedInformerFactoryWithOptions(e.Client, 0, informers.WithTransform(func(obj any) (any, error) {
		if m, err := meta.Accessor(obj); err == nil {
			m.SetManagedFields(nil)
		}
		return obj, nil
	}))
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.Client.CoreV1().Events("")})
	e.Events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "test"})
	for _, ns := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, corev1.NamespaceNodeLease} {
		_, err := e.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	return e
}

// Start runs controllers until the test ends, the factory's informers included.
func (e *Env) Start(t testing.TB, runs ...func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(e.Ctx)
	e.Factory.StartWithContext(ctx)
	done := make(chan struct{}, len(runs))
	for _, run := range runs {
		go func() { run(ctx); done <- struct{}{} }()
	}
	t.Cleanup(func() {
		cancel()
		for range runs {
			<-done
		}
		e.Factory.Shutdown()
	})
}

// Node makes a ready Node of that size.
func (e *Env) Node(t testing.TB, name, cpu, memory string) *corev1.Node {
	t.Helper()
	size := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("110"),
	}
	return must(e.Client.CoreV1().Nodes().Create(e.Ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Capacity: size, Allocatable: size,
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}},
		},
	}, metav1.CreateOptions{}))(t)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Eventually waits until ok, and fails the test after ten seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
