package gitops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/killpoint"
	"github.com/gitopsd/gitopsd/internal/reconcile"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/verify"
)

// pass is one look at one Application, from what is to what should be.
type pass struct {
	*Engine
	key reconcile.Key
	m   *memory
	// app is a copy that the pass may change; its status is what will be written.
	app     *v1alpha1.Application
	judge   judge
	began   time.Time
	trigger string
	out     outlook
	// again is when the pass wants to be repeated without any event; zero is never.
	again time.Duration
	// noted says that the pass applied a commit whole.
	noted bool
	// spared says that the wanted commit changes nothing of the Application, which is noted later.
	spared bool
}

func (e *Engine) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	current := e.application(key)
	if current == nil {
		e.forget(key)
		syncs.DeletePartialMatch(map[string]string{"namespace": key.Namespace, "name": key.Name})
		revertCount.DeletePartialMatch(map[string]string{"namespace": key.Namespace, "name": key.Name})
		return reconcile.Result{}, nil
	}
	m := e.memory(key)
	current = laterOf(current, m.latest)
	p := &pass{Engine: e, key: key, m: m, app: current.DeepCopy(), judge: e.judgeFor(current), began: e.now()}
	p.out = outlook{now: p.began, generation: current.Generation, head: m.head}
	if current.DeletionTimestamp != nil {
		return reconcile.Result{}, p.remove(ctx)
	}
	if err := p.ensureFinalizer(ctx); err != nil {
		return reconcile.Result{}, err
	}
	err := p.run(ctx)
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err()
	}
	p.observe()
	if p.m.looked {
		p.app.Status.HandledRequest = p.m.request // not before what came of it is in the status too
	}
	conclude(&p.app.Status, p.out)
	if err == nil && (p.toldLater(&current.Status) || p.givesWay(&current.Status)) {
		return reconcile.Result{After: p.again}, nil
	}
	p.announce(&current.Status)
	if serr := p.writeStatus(ctx, &current.Status); serr != nil && err == nil {
		err = serr
	}
	if p.noted {
		killpoint.Reach("status")
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{After: p.again}, nil
}

// run does everything but the status. The error means "again, after a back-off"; what is wrong with Git or the objects is in the outlook.
func (p *pass) run(ctx context.Context) error {
	if p.app.Spec.Suspend {
		p.out.suspended = true
		p.m.unask()
		return nil
	}
	asked, wait := p.m.asked(p.began)
	if wait > 0 {
		p.repeat(wait)
	}
	if l, now := lookNow(p.m, asked, p.app, p.began); now {
		p.trigger = l.trigger
		p.look(ctx, l)
	}
	p.repeat(p.m.nextPoll.Sub(p.now()))
	p.out.headErr = p.m.headErr
	p.out.head = p.m.head
	err := p.sync(ctx)
	p.hasRead()
	return err
}

// repeat asks for another pass after d, or sooner if that was asked for before.
func (p *pass) repeat(d time.Duration) {
	d = max(d, time.Millisecond)
	if p.again == 0 || d < p.again {
		p.again = d
	}
}

// look asks the remote what the ref is now, and fetches it.
func (p *pass) look(ctx context.Context, l look) {
	m := p.m
	req, err := p.request(ctx, l.since)
	if err == nil {
		var x extras
		if x, err = readExtras(ctx, p.core, p.app.Namespace, p.app.Spec.Source.Rendering); err == nil {
			x.version, err = chartVersion(ctx, p.charts, x, p.app.Spec.Source.Rendering, l.since)
			x.fingerprint += x.version
		}
		if err == nil {
			if x.fingerprint != m.extras.fingerprint {
				m.refusal = nil // it may have been for the lack of a key
			}
			m.extras = x
		}
	}
	if err == nil {
		var head source.Commit
		if alone(req.URL) {
			head = versionAsCommit(p.app.Spec.Source.Rendering, m.extras.version)
		} else {
			head, err = p.git.Head(ctx, req)
		}
		if err == nil {
			m.head = head
			killpoint.Reach("fetched")
		}
	}
	if ctx.Err() != nil {
		return
	}
	m.headErr = err
	looks.WithLabelValues(l.trigger, lookResult(err)).Inc()
	if err != nil {
		m.failures++
		p.log.Warn("cannot read the source", "application", p.key.String(), "trigger", l.trigger, "failures", m.failures, "err", err)
	} else {
		m.failures = 0
	}
	if m.generation != p.app.Generation && err != nil {
		m.head = source.Commit{} // it may be of another repository or ref
	}
	m.looked, m.generation, m.request = true, p.app.Generation, requested(p.app)
	m.nextPoll = p.now().Add(max(pollDelay(p.app.Spec.Interval, m.failures, rand.Float64()), source.RetryAfter(err)))
}

func lookResult(err error) string {
	if err != nil {
		return string(source.ReasonOf(err))
	}
	return "Fetched"
}

// request puts together what the repository needs, with the credentials as they are now.
func (p *pass) request(ctx context.Context, since time.Time) (source.Request, error) {
	s := p.app.Spec.Source
	r := source.Request{URL: s.RepoURL, Ref: s.Ref, Submodules: s.Submodules, NotBefore: since}
	if name := secretName(p.app); name != "" {
		data, err := secretData(ctx, p.core, p.app.Namespace, s.SecretRef.Name, "spec.source.secretRef")
		if err != nil {
			return r, err
		}
		r.Credentials = source.CredentialsFromSecret(name, data)
	}
	if s.Verify == nil {
		return r, nil
	}
	data, err := secretData(ctx, p.core, p.app.Namespace, s.Verify.SecretRef.Name, "spec.source.verify.secretRef")
	if err != nil {
		return r, err
	}
	name := p.app.Namespace + "/" + s.Verify.SecretRef.Name
	keys, err := verify.Parse(data)
	if err != nil {
		return r, &source.Error{Reason: source.InvalidCredentials, Message: fmt.Sprintf("Secret %s, which spec.source.verify.secretRef names", name), Err: err}
	}
	r.Verify = &source.Verification{Keys: keys, Mode: s.Verify.Mode, Secret: name}
	return r, nil
}

// as is the cluster as the Application may use it.
func (p *pass) as() (*apply.Cluster, error) {
	c := p.cluster
	if account := p.app.Spec.ServiceAccountName; account != "" {
		var err error
		if c, err = c.As(serviceaccount.MakeUsername(p.app.Namespace, account)); err != nil {
			return nil, err
		}
	}
	if p.app.Spec.Replace {
		c = c.Replacing()
	}
	return c, nil
}

// may asks whether an Application's account may do something; one without an account may do everything.
func (p *pass) may(ctx context.Context, app *v1alpha1.Application, what authorizationv1.ResourceAttributes) (bool, error) {
	account := app.Spec.ServiceAccountName
	if account == "" {
		return true, nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               serviceaccount.MakeUsername(app.Namespace, account),
		Groups:             append(serviceaccount.MakeGroupNames(app.Namespace), user.AllAuthenticated),
		ResourceAttributes: &what,
	}}
	answer, err := p.access.SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// ensureFinalizer keeps the finalizer on the Application exactly while deleting it is to delete its objects.
func (p *pass) ensureFinalizer(ctx context.Context) error {
	has := slices.Contains(p.app.Finalizers, v1alpha1.FinalizerPrune)
	if has != outlived(&p.app.Spec) {
		return nil
	}
	app := p.app.DeepCopy()
	if has {
		app.Finalizers = slices.DeleteFunc(app.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerPrune })
	} else {
		app.Finalizers = append(app.Finalizers, v1alpha1.FinalizerPrune)
	}
	updated, err := p.clients.In(app.Namespace).Update(ctx, app, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	if err != nil {
		return err
	}
	p.m.latest = updated
	p.app = updated.DeepCopy()
	return nil
}

// toldLater puts off, by a moment, a status that says nothing new but which of many objects are not healthy yet.
func (p *pass) toldLater(before *v1alpha1.ApplicationStatus) bool {
	if p.m.applied == nil {
		return false
	}
	wait := p.m.told.Add(healthDelay(len(p.m.applied.objects))).Sub(p.now())
	if wait <= 0 || !onlyWhich(before, &p.app.Status) {
		return false
	}
	p.repeat(wait)
	return true
}

// givesWay puts off, until those have been looked at that a push may change, a status which says nothing new but the health of one that the push does not change: after
// a thousand Applications were made, the notes that they have become healthy would stand in the way of the first push.
func (p *pass) givesWay(before *v1alpha1.ApplicationStatus) bool {
	if p.trigger != triggerWebhook || !p.spared || !onlyHealth(before, &p.app.Status) {
		return false
	}
	p.repeat(time.Millisecond) // in the order of those for whom nobody waits
	return true
}

// writeStatus writes the status if it says something new.
func (p *pass) writeStatus(ctx context.Context, before *v1alpha1.ApplicationStatus) error {
	if equality.Semantic.DeepEqual(before, &p.app.Status) {
		return nil
	}
	updated, err := p.clients.In(p.app.Namespace).UpdateStatus(ctx, p.app, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	if apierrors.IsConflict(err) {
		// Somebody changed the spec meanwhile. The status is ours alone, so it can be put on top of whatever the Application is now.
		var fresh *v1alpha1.Application
		if fresh, err = p.clients.In(p.app.Namespace).Get(ctx, p.app.Name, metav1.GetOptions{}); err == nil {
			fresh.Status = p.app.Status
			updated, err = p.clients.In(p.app.Namespace).UpdateStatus(ctx, fresh, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status of Application %s: %w", p.key, err)
	}
	p.m.latest, p.m.told = updated, p.now()
	p.app = updated.DeepCopy()
	return nil
}

// announce records Events for what changed between two statuses.
func (p *pass) announce(before *v1alpha1.ApplicationStatus) {
	for _, kind := range []string{v1alpha1.ConditionSourceReady, v1alpha1.ConditionSynced, v1alpha1.ConditionHealthy} {
		for _, c := range transitions(before.Conditions, p.app.Status.Conditions, kind) {
			t := corev1.EventTypeNormal
			if c.Status == metav1.ConditionFalse && c.Reason != "Progressing" && c.Reason != "WaitingForDependency" && c.Reason != reasonRollingOut && c.Reason != "Behind" {
				t = corev1.EventTypeWarning
			}
			p.event(p.app, t, c.Reason, c.Message)
		}
	}
	p.announceOverrides(before.Drift)
}

// transitions returns the condition if what it says has changed in a way that is worth an Event.
func transitions(before, after []metav1.Condition, kind string) []metav1.Condition {
	find := func(list []metav1.Condition) *metav1.Condition {
		for i := range list {
			if list[i].Type == kind {
				return &list[i]
			}
		}
		return nil
	}
	b, a := find(before), find(after)
	if a == nil || a.Status == metav1.ConditionUnknown {
		return nil
	}
	if b != nil && b.Status == a.Status && b.Reason == a.Reason && (a.Status == metav1.ConditionTrue || b.Message == a.Message || a.Reason == "Progressing") {
		return nil
	}
	if b == nil && a.Status == metav1.ConditionTrue && kind != v1alpha1.ConditionHealthy {
		return nil // an apply has its own Event
	}
	return []metav1.Condition{*a}
}
