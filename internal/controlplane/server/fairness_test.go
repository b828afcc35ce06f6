package server

import (
	"testing"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
)

type watched struct{ utilflowcontrol.Interface }

func (watched) GetInterestedWatchCount(*apirequest.RequestInfo) int { return 1000 }

func TestAHeartbeatOfANodeIsNotTakenToBeToldToAllNodes(t *testing.T) {
	f := seldomTold{watched{}}
	for _, c := range []struct {
		r    apirequest.RequestInfo
		want int
	}{
		{apirequest.RequestInfo{Verb: "patch", Resource: "nodes", Subresource: "status", Name: "n1"}, 0},
		{apirequest.RequestInfo{Verb: "patch", Resource: "services", Name: "web"}, 1000},
		{apirequest.RequestInfo{Verb: "patch", APIGroup: "metrics.k8s.io", Resource: "nodes", Name: "n1"}, 1000},
	} {
		if got := f.GetInterestedWatchCount(&c.r); got != c.want {
			t.Errorf("%+v: %d watches, want %d", c.r, got, c.want)
		}
	}
}
