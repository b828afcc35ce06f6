package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestWhatEndsAnEarlierWaitForVolumesLeavesTheLaterOneOfThePodAlone(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	waiting := func() *volumePod { return &volumePod{pod: pod, timer: time.NewTimer(time.Hour)} }
	earlier, later := waiting(), waiting()
	s := &Scheduler{volumePods: map[types.UID]*volumePod{"u": later}}
	if s.forget(earlier) || s.volumePods["u"] != later {
		t.Error("the later wait was ended")
	}
	if !s.forget(later) || len(s.volumePods) != 0 {
		t.Error("the wait was not ended")
	}
}
