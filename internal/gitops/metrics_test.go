package gitops_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func TestMetricsTellWhatApplicationsAreAndWhatBecameOfCommits(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.settle()
	b.healthy(commit)
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	b.refused(b.push(map[string]string{"deploy/web.yaml": "kind: [\n"}))
	const app = `name="shop",namespace="gitopsd-system"`
	wanted := []string{
		fmt.Sprintf(`gitopsd_application_info{health="Progressing",%s,repo="%s",revision="%s",suspended="false",sync="Failed"} 1`, app, b.git.Repo(), commit),
		fmt.Sprintf(`gitopsd_application_objects{%s} 3`, app),
		fmt.Sprintf(`gitopsd_application_drifted_fields{%s} 0`, app),
		fmt.Sprintf(`gitopsd_application_applied_timestamp_seconds{%s} 1.`, app),
		fmt.Sprintf(`gitopsd_syncs_total{%s,result="Refused"} `, app),
		fmt.Sprintf(`gitopsd_reverts_total{%s} `, app),
		`gitopsd_source_looks_total{result="Fetched",trigger="webhook"} `,
		`gitopsd_sync_duration_seconds_count{trigger="webhook"} `,
		`workqueue_depth{name="gitops"} `,
	}
	// The Engine's own watch may be a moment behind the test's.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		text, err := b.kube.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		missing := slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return strings.Contains(string(text), w) })
		if len(missing) == 0 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			var ours []string
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, "gitopsd_") {
					ours = append(ours, line)
				}
			}
			t.Fatalf("/metrics has no line %s; its lines are\n%s", strings.Join(missing, " nor "), strings.Join(ours, ""))
		}
	}
}
