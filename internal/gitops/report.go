package gitops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/commitstatus"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

const (
	// reportWorkers is how many Git hosts are told something at once.
	reportWorkers = 4
	// reportAgain is the time to the next try where only a person can help, as with a token without the right.
	reportAgain = 10 * time.Minute
)

// reporter tells Git hosts what became of commits. It has a loop of its own, so that a host that is slow or down holds up nothing else.
type reporter struct {
	engine *Engine
	loop   *reconcile.Loop

	mu sync.Mutex
	// said is what each host was told last. It only saves saying it again.
	said map[reconcile.Key]said
}

type said struct {
	generation int64
	report     commitstatus.Report
	// refusal is what the host answered to it, if it did not take it.
	refusal string
}

func newReporter(e *Engine) *reporter {
	r := &reporter{engine: e, said: map[reconcile.Key]said{}}
	r.loop = reconcile.New("commit-status", r.reconcile)
	return r
}

// concerns lists the Application itself if it has anything to report, or had.
func (r *reporter) concerns(obj any) []reconcile.Key {
	app, ok := obj.(*v1alpha1.Application)
	if !ok || app.Spec.CommitStatus == nil && r.last(keyOf(app)) == (said{}) {
		return nil
	}
	return []reconcile.Key{keyOf(app)}
}

func (r *reporter) last(k reconcile.Key) said {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said[k]
}

func (r *reporter) note(k reconcile.Key, s said) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s == (said{}) {
		delete(r.said, k)
		return
	}
	r.said[k] = s
}

func (r *reporter) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	app := r.engine.application(key)
	if app == nil || app.Spec.CommitStatus == nil {
		r.note(key, said{})
		return reconcile.Result{}, nil
	}
	report, ok := commitstatus.Of(app)
	last := r.last(key)
	if !ok || last.refusal == "" && last.report == report && last.generation == app.Generation {
		return reconcile.Result{}, nil
	}
	now := said{generation: app.Generation, report: report}
	err := r.tell(ctx, app, report)
	if wait, final := final(err); final {
		now.refusal = err.Error()
		if now != last {
			r.engine.event(app, corev1.EventTypeWarning, "CommitStatusFailed", err.Error())
		}
		r.note(key, now)
		return reconcile.Result{After: wait}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	r.note(key, now)
	return reconcile.Result{}, nil
}

// final says whether trying again soon is no use, and when to try again: the host has said no, or the Application's own words are wrong.
func final(err error) (time.Duration, bool) {
	var refused *commitstatus.Refused
	var wrong *wrongReport
	switch {
	case errors.As(err, &wrong):
		return reportAgain, true
	case errors.As(err, &refused) && refused.Code < 500 && refused.Code != http.StatusTooManyRequests && refused.Code != http.StatusRequestTimeout:
		return reportAgain, true
	}
	return 0, false
}

// wrongReport is an error in the Application or its Secret.
type wrongReport struct{ error }

func (r *reporter) tell(ctx context.Context, app *v1alpha1.Application, report commitstatus.Report) error {
	name := app.Spec.CommitStatus.SecretRef.Name
	secret, err := r.engine.core.Secrets(app.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return &wrongReport{fmt.Errorf("there is no Secret %s/%s, which spec.commitStatus.secretRef names; create it with the key token", app.Namespace, name)}
	case err != nil:
		return err
	case len(secret.Data["token"]) == 0:
		return &wrongReport{fmt.Errorf("there is no key token in Secret %s/%s, which spec.commitStatus.secretRef names", app.Namespace, name)}
	}
	host, err := commitstatus.New(app, string(secret.Data["token"]), secret.Data["caFile"])
	if err != nil {
		return &wrongReport{err}
	}
	return host.Post(ctx, report)
}
