package nodeipam

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/network"
)

// TestFree: "free cluster=P bits=N [in-use=P,P]", the blocks taken below, one a line.
func TestFree(t *testing.T) {
	datadriven.RunTest(t, "testdata/free.txt", func(t *testing.T, d *datadriven.TestData) string {
		var cluster string
		var bits int
		d.ScanArgs(t, "cluster", &cluster)
		d.ScanArgs(t, "bits", &bits)
		pool, err := NewPool(netip.MustParsePrefix(cluster), bits)
		if err != nil {
			return err.Error() + "\n"
		}
		var taken []netip.Prefix
		for _, line := range strings.Fields(d.Input) {
			taken = append(taken, netip.MustParsePrefix(line))
		}
		n := &corev1.Node{}
		if d.HasArg("in-use") {
			var inUse []string
			for _, a := range d.CmdArgs {
				if a.Key == "in-use" {
					inUse = a.Vals
				}
			}
			n.Annotations = map[string]string{network.AnnPodCIDRs: strings.Join(inUse, ",")}
		}
		if b, ok := pool.Choose(InUse(n), taken); ok {
			return b.String() + "\n"
		}
		return "none\n"
	})
}

func TestNoBlockIsGivenTwiceWhateverComesAndGoes(t *testing.T) {
	pool, err := NewPool(netip.MustParsePrefix("10.42.0.0/20"), 24)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var held []netip.Prefix
	for range 10000 {
		if len(held) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(held))
			held = append(held[:i], held[i+1:]...)
			continue
		}
		b, ok := pool.Free(held)
		if !ok {
			if len(held) != pool.size() {
				t.Fatalf("none is free although only %d of %d are held", len(held), pool.size())
			}
			continue
		}
		for _, h := range held {
			if h.Overlaps(b) {
				t.Fatalf("%s is given while %s is held", b, h)
			}
		}
		if !pool.Cluster.Overlaps(b) || b.Bits() != pool.Bits {
			t.Fatalf("%s is not a block of %s", b, pool.Cluster)
		}
		held = append(held, b)
	}
}
