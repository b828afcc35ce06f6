package deployment_test

import (
	"context"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/deployment"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/replicaset"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func web(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}, TerminationGracePeriodSeconds: ptr.To[int64](0)},
			},
		},
	}
}

func TestATemplateWhoseNameIsTakenGetsAnother(t *testing.T) {
	e := controllerstest.New(t)
	deployments, sets := e.Client.AppsV1().Deployments("default"), e.Client.AppsV1().ReplicaSets("default")
	run := func(ctx context.Context) {
		f := informers.NewSharedInformerFactory(e.Client, 0)
		c := deployment.New(e.Client, f, e.Events)
		f.StartWithContext(ctx)
		c.Run(ctx)
	}
	// To know the name, let one be made, and put another ReplicaSet in its place.
	ctx, stop := context.WithCancel(e.Ctx)
	done := make(chan struct{})
	go func() { run(ctx); close(done) }()
	if _, err := deployments.Create(e.Ctx, web(1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var name string
	controllerstest.Eventually(t, "the ReplicaSet is there", func() bool {
		all, err := sets.List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, rs := range all.Items {
			name = rs.Name
		}
		return name != ""
	})
	stop()
	<-done
	if err := sets.Delete(e.Ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"app": "other"}
	if _, err := sets.Create(e.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: other}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: other}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/other:1"}}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Start(t, run)
	controllerstest.Eventually(t, "a ReplicaSet of another name is made", func() bool {
		all, err := sets.List(e.Ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			t.Fatal(err)
		}
		return len(all.Items) == 1 && all.Items[0].Name != name
	})
	d, err := deployments.Get(e.Ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ptr.Deref(d.Status.CollisionCount, 0); got != 1 {
		t.Errorf("the collision count is %d, want 1", got)
	}
}

// The control plane ends at whatever it is doing, API server and all, and starts again with nothing but what is stored.
func TestARolloutSurvivesAnyNumberOfRestarts(t *testing.T) {
	controllerstest.Quiet()
	const replicas, lives = 12, 8
	dir := t.TempDir()
	done := false
	for life := range lives {
		cluster, stopServer := servertest.StartIn(t, dir)
		client, err := kubernetes.NewForConfig(cluster.System)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		f := informers.NewSharedInformerFactory(client, 0)
		d, r := deployment.New(client, f, &record.FakeRecorder{}), replicaset.New(client, f, &record.FakeRecorder{})
		var running sync.WaitGroup
		f.StartWithContext(ctx)
		running.Go(func() { d.Run(ctx) })
		running.Go(func() { r.Run(ctx) })

		image := "example.com/web:2"
		if life == 0 {
			image = "example.com/web:1"
			if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			if _, err := client.AppsV1().Deployments("default").Create(ctx, web(replicas), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		} else if life == 1 {
			setImage(t, client, image)
		}
		// The first version is let become ready, so that there is something to lose; then each life ends after a few steps.
		steps := 2 + life
		if life == 0 || life == lives-1 {
			steps = 1 << 20
		}
		deadline := time.Now().Add(20 * time.Second)
		for done = false; steps > 0 && !done; steps-- {
			done = step(t, client, image, replicas)
			if time.Now().After(deadline) {
				t.Fatalf("life %d: the rollout has not ended after 20 s", life)
			}
		}
		cancel()
		stopServer()
		running.Wait()
		f.Shutdown()
	}
	if !done {
		t.Error("the rollout has not ended")
	}
}

func setImage(t *testing.T, client kubernetes.Interface, image string) {
	t.Helper()
	controllerstest.Eventually(t, "the new version is accepted", func() bool {
		d, err := client.AppsV1().Deployments("default").Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.Spec.Template.Spec.Containers[0].Image = image
		_, err = client.AppsV1().Deployments("default").Update(context.Background(), d, metav1.UpdateOptions{})
		return err == nil
	})
}

// step plays the nodes: every Pod becomes ready. It checks the promises of the rolling update, and says whether only Pods of image are left.
func step(t *testing.T, client kubernetes.Interface, image string, replicas int) bool {
	t.Helper()
	ctx := context.Background()
	all, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	active, updated, available := 0, 0, 0
	for i := range all.Items {
		p := &all.Items[i]
		if !podstate.Active(p) {
			continue
		}
		active++
		if p.Spec.Containers[0].Image == image {
			updated++
		}
		if podstate.Ready(p) {
			available++
		}
	}
	if most := replicas + replicas/4; active > most {
		t.Fatalf("there are %d Pods, the surge allows %d", active, most)
	}
	if least := replicas - replicas/4; image != "example.com/web:1" && available < least {
		t.Fatalf("only %d Pods are available, at least %d must be", available, least)
	}
	for i := range all.Items {
		if p := &all.Items[i]; podstate.Active(p) && !podstate.Ready(p) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
			_, _ = client.CoreV1().Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{}) // it may be gone by now
		}
	}
	return updated == replicas && active == replicas && available == replicas
}
