package csi

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
	"github.com/gitopsd/gitopsd/test/csidriver"
)

// serve runs a storage driver until the test's end.
func serve(t *testing.T) (*csidriver.Driver, plugins.Plugin) {
	t.Helper()
	dir := t.TempDir()
	d := &csidriver.Driver{Name: "odd.csi.example", Dir: dir, Node: "id"}
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, socket, "") }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d, plugins.Plugin{Name: d.Name, Endpoint: socket, Versions: []string{"1.0.0"}}
}

// eventuallyOpen connects once the driver listens.
func eventuallyOpen(t *testing.T, p plugins.Plugin, patience time.Duration) *driver {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		d, err := open(t.Context(), p, patience)
		if err == nil {
			t.Cleanup(func() { d.conn.Close() })
			return d
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal(err)
		}
	}
}

func TestADriverThatIsNotWhatItSaysIsNotTaken(t *testing.T) {
	d, good := serve(t)
	eventuallyOpen(t, good, time.Minute)
	named := good
	named.Name = "other.csi.example"
	old := good
	old.Versions = []string{"0.3.0"}
	nobody := good
	nobody.Endpoint += "-nobody"
	for name, c := range map[string]struct {
		plugin            plugins.Plugin
		call, fault, want string
	}{
		"another name":     {named, "", "", `it registers as "other.csi.example", and at ` + good.Endpoint + ` is the driver "odd.csi.example"`},
		"an old version":   {old, "", "", "it speaks the versions [0.3.0] of the Container Storage Interface, and this node 1.x"},
		"nobody listens":   {nobody, "", "", "GetPluginInfo: driver odd.csi.example does not answer; look at its Pod on this node"},
		"no ID":            {good, "NodeGetInfo", "lie", "it knows no ID of this node"},
		"it refuses":       {good, "NodeGetCapabilities", "not today", "NodeGetCapabilities: driver odd.csi.example: rpc error: code = Internal desc = not today"},
		"it never answers": {good, "NodeGetInfo", "hang", "NodeGetInfo: driver odd.csi.example has not answered for 500ms; look at its Pod on this node"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.call != "" {
				if err := d.Fault(c.call, c.fault); err != nil {
					t.Fatal(err)
				}
			}
			_, err := open(t.Context(), c.plugin, 500*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if c.call != "" {
				if err := d.Fault(c.call, ""); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	eventuallyOpen(t, good, time.Minute)
}

func TestACallThatHangsEndsWithTheNodesPatienceAndTheNextOneIsAnswered(t *testing.T) {
	served, p := serve(t)
	d := eventuallyOpen(t, p, 500*time.Millisecond)
	if err := served.Make("v", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := served.Fault("NodeGetVolumeStats", "hang"); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		_, err := called(t.Context(), d, "NodeGetVolumeStats", d.node.NodeGetVolumeStats, &spec.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: served.Dir})
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "has not answered for 500ms") {
		t.Error(err)
	}
	if err := served.Fault("NodeGetVolumeStats", ""); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
}
