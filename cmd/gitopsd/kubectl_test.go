package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// asKubectl has the test program be `gitopsd kubectl` with the arguments that follow.
const asKubectl = "GITOPSD_TEST_AS_KUBECTL"

func TestMain(m *testing.M) {
	if os.Getenv(asKubectl) == "" {
		os.Exit(m.Run())
	}
	os.Args[0] = "kubectl"
	main()
}

func TestKubectlEndsWhenItIsTold(t *testing.T) {
	api := httptest.NewServer(http.NotFoundHandler())
	defer api.Close()
	c := exec.CommandContext(t.Context(), os.Args[0], "--server="+api.URL, "proxy", "--port=0")
	c.Env = append(os.Environ(), asKubectl+"=1", "KUBECONFIG="+filepath.Join(t.TempDir(), "none"))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.Contains(line, "Starting to serve") {
		t.Fatalf("kubectl proxy said %q, %v", line, err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, out)
		ended <- c.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("kubectl proxy goes on after SIGTERM")
	}
}

func TestKubectlUsesTheAccessOfTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(dataDirEnv, dir)
	t.Setenv("KUBECONFIG", "")
	file := adminKubeconfig(upControlPlane(dir))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	parent := &cobra.Command{}
	parent.SetContext(t.Context())
	if err := runKubectl(parent, []string{"version", "--client"}); err != nil {
		t.Fatal(err)
	}
	if got := os.Getenv("KUBECONFIG"); got != file {
		t.Errorf("kubectl reads %q, want %q", got, file)
	}
}
