package lifecycle

import "time"

// Restart back-off as kubectl users know it: at once, then 10 s doubling to 5 min, forgotten after an attempt ran for 10 min.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
const (
	firstDelay = 10 * time.Second
	maxDelay   = 5 * time.Minute
	ResetAfter = 10 * time.Minute
)

// causeShown is how long a failure's own reason (ErrImagePull) is reported before that of waiting for the next try (ImagePullBackOff),
// so that whoever looks or watches sees both.
const causeShown = time.Second

// RestartDelay is how long to wait before the next attempt once crashes attempts in a row have ended early.
func RestartDelay(crashes int) time.Duration {
	if crashes <= 1 {
		return 0
	}
	return doubled(crashes - 2)
}

// restartAt is when the attempt after one that ended may begin. Ends are kept by the time of day; one in the future is from before the clock was set back,
// and nobody waits for the clock to come around again.
func restartAt(e *End, now time.Time) time.Time {
	if e.FinishedAt.After(now) {
		return now
	}
	return e.FinishedAt.Add(RestartDelay(e.Crashes))
}

// RetryDelay is how long to wait after a failure. Pulls are as costly as restarts; what the Pod refers to (a ConfigMap, a volume, an image to be
// loaded) is often there a moment later, and looking for it costs little, so that is done again after 1 s, doubling to 15 s.
func RetryDelay(f *Failure) time.Duration {
	if f.Reason == "ErrImagePull" || f.Reason == "InvalidImageName" {
		return doubled(max(f.Count-1, 0))
	}
	return min(time.Second<<min(max(f.Count-1, 0), 4), 15*time.Second)
}

func doubled(times int) time.Duration {
	if times > 5 { // 10 s·2⁵ is already past the maximum; more would overflow in the end
		return maxDelay
	}
	return min(firstDelay<<times, maxDelay)
}

// Crashes gives End.Crashes for an attempt that follows one with the given count.
func Crashes(before *End, started, finished time.Time) int {
	if before == nil || finished.Sub(started) >= ResetAfter {
		return 1
	}
	return before.Crashes + 1
}
