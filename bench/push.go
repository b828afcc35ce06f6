package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
	"github.com/gitopsd/gitopsd/test/cluster"
)

const (
	pushes    = 30
	roundTime = 30 * time.Second
	image     = "registry.example/web:v1"
)

const manifest = `apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: bench}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ` + image + `
        env: [{name: ROUND, value: "%d"}]
`

// benchPush takes the time from a webhook to a Ready Pod of the new version, and where it goes. The image is present and there is no probe.
func benchPush(ctx context.Context, c *cluster.Cluster, dir string, out io.Writer) error {
	repo := filepath.Join(dir, "bench-repo")
	if err := os.MkdirAll(repo, 0o755); err != nil {
		return err
	}
	if err := git(ctx, repo, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	if _, err := commit(ctx, repo, 0); err != nil {
		return err
	}
	rc, err := c.RESTConfig()
	if err != nil {
		return err
	}
	apps, err := client.New(rc)
	if err != nil {
		return err
	}
	kube, err := c.Client()
	if err != nil {
		return err
	}
	url := "file://" + repo
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "bench", Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: url, Ref: v1alpha1.Ref{Branch: "main"}}, Interval: &metav1.Duration{Duration: time.Hour}},
	}
	if _, err := apps.In(app.Namespace).Create(ctx, app, metav1.CreateOptions{}); err != nil {
		return err
	}
	pods, err := kube.CoreV1().Pods("bench").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer pods.Stop()
	deployments, err := kube.AppsV1().Deployments("bench").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer deployments.Stop()
	if _, err := awaitRound(ctx, time.Now(), 0, deployments, pods); err != nil {
		return fmt.Errorf("the first version: %w", err)
	}
	hook, err := newHook(c, url)
	if err != nil {
		return err
	}
	names := []string{"webhook → Deployment applied", "→ Pod created", "→ Pod bound", "→ containers started", "→ Pod Ready"}
	figures := make([]figure, len(names))
	for i, n := range names {
		figures[i].name = n
	}
	for round := 1; round <= pushes; round++ {
		hash, err := commit(ctx, repo, round)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := hook.post(ctx, hash); err != nil {
			return err
		}
		steps, err := awaitRound(ctx, start, round, deployments, pods)
		if err != nil {
			return fmt.Errorf("push %d: %w", round, err)
		}
		for i, d := range steps {
			figures[i].times = append(figures[i].times, d)
		}
	}
	return table(out, fmt.Sprintf("push to Ready: time since the webhook, %d pushes", pushes), figures)
}

// awaitRound returns when each step of the round was seen, since start.
func awaitRound(ctx context.Context, start time.Time, round int, deployments, pods watch.Interface) ([5]time.Duration, error) {
	var steps [5]time.Duration
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	want := fmt.Sprint(round)
	see := func(i int, yes bool) {
		if yes && steps[i] == 0 {
			steps[i] = time.Since(start)
		}
	}
	for steps[4] == 0 {
		select {
		case e, ok := <-deployments.ResultChan():
			if !ok {
				return steps, fmt.Errorf("the watch of Deployments ended")
			}
			if d, ok := e.Object.(*appsv1.Deployment); ok {
				see(0, roundOf(d.Spec.Template.Spec) == want)
			}
		case e, ok := <-pods.ResultChan():
			if !ok {
				return steps, fmt.Errorf("the watch of Pods ended")
			}
			p, ok := e.Object.(*corev1.Pod)
			if !ok || roundOf(p.Spec) != want || e.Type == watch.Deleted {
				continue
			}
			see(1, true)
			see(2, p.Spec.NodeName != "")
			see(3, len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Running != nil)
			see(4, podReady(p))
		case <-ctx.Done():
			return steps, fmt.Errorf("not Ready in time; steps seen: %v", steps)
		}
	}
	return steps, nil
}

func roundOf(s corev1.PodSpec) string {
	if len(s.Containers) == 0 || len(s.Containers[0].Env) == 0 {
		return ""
	}
	return s.Containers[0].Env[0].Value
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "user.name=bench", "-c", "user.email=bench@example.com"}, args...)...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

func commit(ctx context.Context, repo string, round int) (hash string, err error) {
	if err := os.WriteFile(filepath.Join(repo, "web.yaml"), fmt.Appendf(nil, manifest, round), 0o644); err != nil {
		return "", err
	}
	if err := git(ctx, repo, "add", "web.yaml"); err != nil {
		return "", err
	}
	if err := git(ctx, repo, "commit", "-q", "-m", fmt.Sprint("round ", round)); err != nil {
		return "", err
	}
	return headOf(ctx, repo)
}

// hook posts webhooks as a Git host does.
type hook struct {
	client    *http.Client
	url, repo string
	secret    []byte
}

func newHook(c *cluster.Cluster, repo string) (*hook, error) {
	secret, err := os.ReadFile(filepath.Join(c.Dir(), "cp", "webhook-secret"))
	if err != nil {
		return nil, err
	}
	rc, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	pool, err := trust(rc.CAData)
	if err != nil {
		return nil, err
	}
	return &hook{client: c.HTTPClient(pool), url: c.Server() + "/webhook/generic", repo: repo, secret: bytes.TrimSpace(secret)}, nil
}

func (h *hook) post(ctx context.Context, hash string) error {
	body, err := json.Marshal(map[string]string{"repo": h.repo, "ref": "refs/heads/main", "commit": hash})
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Gitopsd-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12)); resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("webhook: %s: %s", resp.Status, text)
	}
	return nil
}
