package cronjob

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// cluster is one CronJob and its Jobs; decisions are carried out at once.
type cluster struct {
	t    *testing.T
	cj   *batchv1.CronJob
	jobs []*batchv1.Job
	now  time.Time
	// since is when the schedule was changed.
	since time.Time
}

// TestDecide reads stories of one CronJob:
//
//	cronjob schedule="…" at=TIME [zone= policy= deadline=S successes=N failures=N suspend]   makes it
//	at TIME          looks at it at that time; of a whole date the last one given is used where only the hour is said
//	finish NAME [failed]     ends a Job
//	lose NAME        deletes a Job
//	manual NAME      somebody makes a Job from the CronJob
//	set suspend|resume|schedule="…"
//	crash            the status written last is lost
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := &cluster{t: t}
		var before batchv1.CronJobStatus
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			c.t = t
			switch d.Cmd {
			case "cronjob":
				c.make(d.Input)
				return ""
			case "at":
				before = *c.cj.Status.DeepCopy()
				return c.look(c.time(strings.TrimSpace(d.Input)))
			case "finish":
				c.finish(d.CmdArgs[0].Key, len(d.CmdArgs) > 1)
			case "lose":
				c.jobs = slices.DeleteFunc(c.jobs, func(j *batchv1.Job) bool { return j.Name == d.CmdArgs[0].Key })
			case "manual":
				name := d.CmdArgs[0].Key
				c.jobs = append(c.jobs, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}})
			case "crash":
				c.cj.Status = before
			case "set":
				c.set(d.Input)
			default:
				t.Fatalf("no such command: %s", d.Cmd)
			}
			return ""
		})
	})
}

// time reads "2026-03-01 10:00" or, on the same day as before, "10:00"; seconds may follow.
func (c *cluster) time(s string) time.Time {
	if !strings.Contains(s, " ") {
		s = c.now.Format(time.DateOnly) + " " + s
	}
	if strings.Count(s, ":") == 1 {
		s += ":00"
	}
	t, err := time.Parse(time.DateTime, s)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

func (c *cluster) make(text string) {
	*c = cluster{t: c.t, cj: &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "report", UID: "uid-report"},
		Spec: batchv1.CronJobSpec{
			ConcurrencyPolicy: batchv1.AllowConcurrent, SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1),
		},
	}}
	c.set(text)
}

// set reads "field: value" lines.
func (c *cluster) set(text string) {
	number := func(s string) int {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil {
			c.t.Fatal(err)
		}
		return n
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		spec := &c.cj.Spec
		switch key {
		case "created":
			c.now = c.time(value)
			c.cj.CreationTimestamp = metav1.NewTime(c.now)
		case "schedule":
			if spec.Schedule != "" {
				c.since = c.now
			}
			spec.Schedule = value
		case "zone":
			spec.TimeZone = &value
		case "policy":
			spec.ConcurrencyPolicy = batchv1.ConcurrencyPolicy(value)
		case "deadline":
			spec.StartingDeadlineSeconds = ptr.To(int64(number(value)))
		case "successes kept":
			spec.SuccessfulJobsHistoryLimit = ptr.To(int32(number(value)))
		case "failures kept":
			spec.FailedJobsHistoryLimit = ptr.To(int32(number(value)))
		case "suspend":
			spec.Suspend = ptr.To(value == "true")
		default:
			c.t.Fatalf("no such field: %q", key)
		}
	}
}

func (c *cluster) finish(name string, failed bool) {
	for _, j := range c.jobs {
		if j.Name != name {
			continue
		}
		end := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}
		if failed {
			end.Type = batchv1.JobFailed
		} else {
			j.Status.CompletionTime = &metav1.Time{Time: c.now}
		}
		j.Status.Conditions = append(j.Status.Conditions, end)
		return
	}
	c.t.Fatalf("no Job %s", name)
}

func (c *cluster) look(now time.Time) string {
	c.now = now
	a := Decide(Observed{CronJob: c.cj, Jobs: c.jobs, Since: c.since, Now: now})
	c.cj.Status = a.Status
	var b strings.Builder
	for _, e := range a.Events {
		fmt.Fprintf(&b, "%s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	drop := func(word string, list []*batchv1.Job) {
		for _, gone := range list {
			fmt.Fprintf(&b, "%s %s\n", word, gone.Name)
			c.jobs = slices.DeleteFunc(c.jobs, func(j *batchv1.Job) bool { return j == gone })
		}
	}
	drop("replace", a.Replace)
	if !a.Start.IsZero() {
		j := newJob(c.cj, a.Start, a.Zone)
		j.UID, j.Status.StartTime = types.UID("uid-"+j.Name), &metav1.Time{Time: now}
		if slices.ContainsFunc(c.jobs, func(k *batchv1.Job) bool { return k.Name == j.Name }) {
			c.t.Errorf("the run %s is started a second time", j.Name)
		}
		c.jobs = append(c.jobs, j)
		c.cj.Status.Active = append(c.cj.Status.Active, reference(j))
		c.cj.Status.LastScheduleTime = &metav1.Time{Time: a.Start}
		fmt.Fprintf(&b, "start %s for %s\n", j.Name, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	}
	drop("remove", a.Remove)
	var active []string
	for _, ref := range c.cj.Status.Active {
		active = append(active, ref.Name)
	}
	if len(active) > 0 {
		fmt.Fprintf(&b, "active: %s\n", strings.Join(active, " "))
	}
	if a.Next > 0 {
		fmt.Fprintf(&b, "next in %v\n", a.Next-late)
	}
	return b.String()
}

func TestTheLastOfYearsOfMissedRunsIsFoundAtOnce(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 30, 0, time.UTC)
	for schedule, want := range map[string]time.Time{
		"* * * * *":     time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC),
		"*/5 * 1 1 *":   time.Date(2026, 1, 1, 23, 55, 0, 0, time.UTC),
		"0 12 29 2 *":   time.Time{},
		"0 0 * * 1":     time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC),
		"59 23 31 12 *": time.Time{},
	} {
		s, _, err := parse(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: schedule, TimeZone: ptr.To("UTC")}})
		if err != nil {
			t.Fatal(err)
		}
		since := now.AddDate(-30, 0, 0)
		began := time.Now()
		got, n := due(s, since, now)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%q: took %v", schedule, took)
		}
		if want.IsZero() { // fewer than a hundred in thirty years: they are gone through one by one
			if n > manyMissed || s.Next(got).Before(now) || got.After(now) {
				t.Errorf("%q: got %v after %d runs", schedule, got, n)
			}
			continue
		}
		if !got.Equal(want) || n <= manyMissed {
			t.Errorf("%q: got %v after %d runs, want %v and more than %d", schedule, got, n, want, manyMissed)
		}
	}
}

func FuzzScheduleNeitherPanicsNorStartsARunOfTheFuture(f *testing.F) {
	for _, s := range []string{"* * * * *", "@hourly", "@every 90s", "TZ=", "0 0 30 2 *", "CRON_TZ=Europe/Berlin 5 4 * * *"} {
		f.Add(s, "Europe/Berlin")
	}
	now := time.Date(2026, 3, 4, 5, 6, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, schedule, zone string) {
		cj := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: schedule}}
		if zone != "" {
			cj.Spec.TimeZone = &zone
		}
		s, _, err := parse(cj)
		if err != nil {
			return
		}
		if last, _ := due(s, now.AddDate(0, 0, -3), now); last.After(now) {
			t.Errorf("%q: the last run until %v is %v", schedule, now, last)
		}
	})
}
