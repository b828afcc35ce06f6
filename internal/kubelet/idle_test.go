package kubelet_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Lease alone says every ten seconds that a node lives (KEP-589): a cluster of thousands of nodes could not store more.
func TestANodeOfWhichNothingChangesWritesNoStatus(t *testing.T) {
	h := start(t)
	version := func() string {
		n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n.ResourceVersion
	}
	// The taints of its beginning go, and images are listed, until it has been quiet for once.
	last, since := version(), time.Now()
	for end := time.Now().Add(patience); time.Since(since) < 25*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := version(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatalf("after %s the Node is still written to, last %s ago", patience, time.Since(since))
		}
	}
}
