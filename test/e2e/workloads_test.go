package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

// workloads is the namespace of the test below.
const workloads = "workloads"

// made collects the Pods that were ever there, by the workload that they are labelled with.
type made struct {
	mu   sync.Mutex
	pods map[string]map[types.UID]string // names, by workload
}

func (m *made) see(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	app := p.Labels["app"]
	if m.pods[app] == nil {
		m.pods[app] = map[types.UID]string{}
	}
	m.pods[app][p.UID] = p.Name
}

func (m *made) of(app string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Values(m.pods[app]))
}

// The control plane is killed again and again while Jobs, StatefulSets, DaemonSets and CronJobs are at work and a Deployment is updated. In the end everything is as if it had not
// been: no Pod was made twice, and none is missing.
func TestWorkloadsComeToTheSameEndHoweverOftenTheControlPlaneDies(t *testing.T) {
	ctx, s := begin(t)
	pods := &made{pods: map[string]map[types.UID]string{}}
	watching, stop := context.WithCancel(ctx)
	f := informers.NewSharedInformerFactoryWithOptions(s.API, 0, informers.WithNamespace(workloads))
	if _, err := f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: pods.see, UpdateFunc: func(_, obj any) { pods.see(obj) },
	}); err != nil {
		t.Fatal(err)
	}
	f.Start(watching.Done())
	defer f.Shutdown()
	defer stop()
	if _, err := s.API.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: workloads}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.API.CoreV1().Namespaces().Delete(afterwards(t), workloads, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	const perJob, members, replicas = 9, 3, 6
	template := func(app string, policy corev1.RestartPolicy, env ...corev1.EnvVar) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
			Spec: corev1.PodSpec{
				RestartPolicy: policy, TerminationGracePeriodSeconds: new(int64),
				Containers: []corev1.Container{{Name: "web", Image: images.Web + ":v1", Env: append(env, corev1.EnvVar{Name: "LINGER", Value: "0s"})}},
			},
		}
	}
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	await := func(what string, done func() (state string, ok bool, err error)) {
		t.Helper()
		state := ""
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			now, ok, err := done()
			if err != nil && ctx.Err() == nil {
				t.Fatalf("%s: %v", what, err)
			}
			if ok {
				return
			}
			state = now
		}
		t.Fatalf("%s: not in time: %s", what, state)
	}
	deployments := s.API.AppsV1().Deployments(workloads)
	deployed := func() (string, bool, error) {
		o, err := deployments.Get(ctx, "deployment", metav1.GetOptions{})
		st := &o.Status
		return fmt.Sprintf("%+v", st), err == nil && st.ObservedGeneration == o.Generation && st.UpdatedReplicas == replicas && st.ReadyReplicas == replicas && st.Replicas == replicas, err
	}
	if _, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "deployment"},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(replicas)), Selector: selector("deployment"), Template: template("deployment", corev1.RestartPolicyAlways)},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("the Deployment's first version", deployed)

	ends := corev1.EnvVar{Name: "LIFE", Value: "1s"}
	job := batchv1.JobSpec{Parallelism: new(int32(3)), Completions: new(int32(perJob)), Template: template("job", corev1.RestartPolicyNever, ends)}
	scheduled := batchv1.JobSpec{Template: template("cronjob", corev1.RestartPolicyNever, ends)}
	for what, err := range map[string]error{
		"Job": second(s.API.BatchV1().Jobs(workloads).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: job}, metav1.CreateOptions{})),
		"CronJob": second(s.API.BatchV1().CronJobs(workloads).Create(ctx, &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: "cronjob"},
			Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: scheduled}},
		}, metav1.CreateOptions{})),
		"StatefulSet": second(s.API.AppsV1().StatefulSets(workloads).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "statefulset"},
			Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(members)), Selector: selector("statefulset"), Template: template("statefulset", corev1.RestartPolicyAlways)},
		}, metav1.CreateOptions{})),
		"DaemonSet": second(s.API.AppsV1().DaemonSets(workloads).Create(ctx, &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Name: "daemonset"},
			Spec:       appsv1.DaemonSetSpec{Selector: selector("daemonset"), Template: template("daemonset", corev1.RestartPolicyAlways)},
		}, metav1.CreateOptions{})),
		"Deployment": second(deployments.Patch(ctx, "deployment", types.StrategicMergePatchType,
			fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"%s:v2"}]}}}}`, images.Web), metav1.PatchOptions{})),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	// Each death comes when more Pods are there than at the last one, so that it is in the midst of the work; how many it takes depends on what is done meanwhile.
	deaths := 0
	for seen := 0; deaths < 5; deaths++ {
		for end := time.Now().Add(3 * time.Second); len(pods.of("job")) <= seen && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		seen = len(pods.of("job"))
		if err := s.Kill(cluster.Gitopsd); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(cluster.Gitopsd); err != nil {
			t.Fatal(err)
		}
		if err := s.APIReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("after %d deaths %d of the Job's %d Pods are there", deaths, len(pods.of("job")), perJob)

	await("the Job", func() (string, bool, error) {
		j, err := s.API.BatchV1().Jobs(workloads).Get(ctx, "job", metav1.GetOptions{})
		return fmt.Sprintf("%+v", j.Status), err == nil && j.Status.Succeeded == perJob && j.Status.CompletionTime != nil, err
	})
	await("the StatefulSet", func() (string, bool, error) {
		o, err := s.API.AppsV1().StatefulSets(workloads).Get(ctx, "statefulset", metav1.GetOptions{})
		return fmt.Sprintf("%+v", o.Status), err == nil && o.Status.ReadyReplicas == members, err
	})
	await("the DaemonSet", func() (string, bool, error) {
		o, err := s.API.AppsV1().DaemonSets(workloads).Get(ctx, "daemonset", metav1.GetOptions{})
		return fmt.Sprintf("%+v", o.Status), err == nil && int(o.Status.NumberReady) == len(s.Workers()), err
	})
	await("the Deployment's second version", deployed)
	await("a minute of the CronJob", func() (string, bool, error) {
		o, err := s.API.BatchV1().CronJobs(workloads).Get(ctx, "cronjob", metav1.GetOptions{})
		return fmt.Sprintf("%+v", o.Status), err == nil && o.Status.LastSuccessfulTime != nil && len(o.Status.Active) == 0, err
	})
	jobs, err := s.API.BatchV1().Jobs(workloads).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	minutes := 0
	for _, j := range jobs.Items {
		if metav1.GetControllerOf(&j) != nil {
			minutes++
		}
		if j.Status.Failed != 0 {
			t.Errorf("Job %s counts %d failed Pods", j.Name, j.Status.Failed)
		}
	}
	for app, want := range map[string]int{"job": perJob, "statefulset": members, "daemonset": len(s.Workers()), "deployment": 2 * replicas, "cronjob": minutes} {
		// What watches the Pods comes back after a back-off that has grown with each death.
		for end := time.Now().Add(time.Minute); len(pods.of(app)) < want && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		}
		if got := pods.of(app); len(got) != want {
			t.Errorf("of the %s %d Pods were made, want %d: %v", app, len(got), want, got)
		}
	}
	list, err := s.API.CoreV1().Pods(workloads).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		if !shop.Ready(p) && p.Status.Phase != corev1.PodSucceeded {
			t.Errorf("Pod %s is %s", p.Name, p.Status.Phase)
		}
	}
}

// second is the error of a call of which nothing else is wanted. What an earlier answer that was lost has made is as good.
func second(_ any, err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
