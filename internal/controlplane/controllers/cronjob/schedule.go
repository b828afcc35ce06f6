package cronjob

import (
	"fmt"
	"time"
	_ "time/tzdata" // a host without the data base of time zones must not change when a Job runs

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// manyMissed is the number of missed runs above which the clock or the deadline is probably wrong, as the CronJob API documents it.
const manyMissed = 100

// parse reads the schedule in its time zone.
func parse(cj *batchv1.CronJob) (s cron.Schedule, zone *time.Location, err error) {
	zone = time.Local
	text := cj.Spec.Schedule
	if cj.Spec.TimeZone != nil {
		if zone, err = time.LoadLocation(*cj.Spec.TimeZone); err != nil {
			return nil, nil, unknownZone{*cj.Spec.TimeZone, err}
		}
		text = fmt.Sprintf("TZ=%s %s", *cj.Spec.TimeZone, text)
	}
	defer func() {
		if p := recover(); p != nil { // the parser does so at "TZ=" without an end; validation lets none in, but one may be stored
			s, err = nil, fmt.Errorf("%v", p)
		}
	}()
	s, err = cron.ParseStandard(text)
	return s, zone, err
}

type unknownZone struct {
	zone string
	err  error
}

func (e unknownZone) Error() string { return fmt.Sprintf("invalid timeZone: %q: %s", e.zone, e.err) }

// due looks for the runs after since up to now: the last of them, and how many there are, counting no further than one above manyMissed.
func due(s cron.Schedule, since, now time.Time) (last time.Time, n int) {
	for t := s.Next(since); !t.IsZero() && !t.After(now); t = s.Next(t) {
		last = t
		if n++; n > manyMissed {
			return lastUntil(s, last, now), n
		}
	}
	return last, n
}

// lastUntil finds the last run until now without going through them one by one: there may be years of minutes between. from is a run itself.
func lastUntil(s cron.Schedule, from, now time.Time) time.Time {
	for end := now; end.Sub(from) > time.Second; {
		middle := from.Add(end.Sub(from) / 2)
		if t := s.Next(middle); !t.IsZero() && !t.After(now) {
			from = t
		} else {
			end = middle
		}
	}
	return from
}
