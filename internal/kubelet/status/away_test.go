package status

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestAnHourWithoutTheAPIIsToldOfOnceForEachPodAndCaughtUpWithInSeconds(t *testing.T) {
	var told bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&told, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		w := New(a)
		a.away = true
		const pods = 110
		ref := func(i int) Ref {
			return Ref{Namespace: "ns", Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprint("u", i))}
		}
		for minute := range 60 { // each Pod crashes once a minute
			for i := range pods {
				w.Set(t.Context(), ref(i), phase(fmt.Sprint("minute", minute)), true)
			}
			time.Sleep(time.Minute)
		}
		tries := len(a.Actions())
		if tries > pods*(3600/10+10) {
			t.Errorf("the API was asked %d times for %d Pods", tries, pods)
		}
		if n := strings.Count(told.String(), "\n"); n != pods {
			t.Errorf("%d lines were logged", n)
		}
		a.mu.Lock()
		a.away = false
		a.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := a.sent(); got != strings.TrimSpace(strings.Repeat("minute59 ", pods)) {
			t.Errorf("ten seconds after its return it has been told %d times: %.200s", strings.Count(got, " ")+1, got)
		}
	})
}
