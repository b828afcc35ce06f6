package ingress

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestAPortThatIsTakenSaysByWhom(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a host without IPv6
			continue
		}
		port := l.Addr().(*net.TCPAddr).Port
		if got, want := holder("/proc", port), "(process "+strconv.Itoa(os.Getpid())+")"; !strings.HasSuffix(got, want) || strings.HasPrefix(got, " ") {
			t.Errorf("port %d is said to be of %q, want a name and %s", port, got, want)
		}
		l.Close()
		if got := holder("/proc", port); got != "another process" {
			t.Errorf("port %d, which is free, is said to be of %q", port, got)
		}
	}
}
