package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
)

// TestBuild plays the scripts in testdata: "pod" prints the part of the specification of a Pod's first container that its arguments name.
func TestBuild(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			pod := &v1.Pod{}
			if err := yaml.UnmarshalStrict([]byte(d.Input), &pod.Spec); err != nil {
				d.Fatalf(t, "%v", err)
			}
			if d.Cmd == "limits" {
				l := PodLimits(Host{}, pod)
				return fmt.Sprintf("cpu %dm of at most %dm, memory at most %d\n", l.MilliCPU, l.MilliCPULimit, l.Memory)
			}
			in := Input{
				Host: Host{Capabilities: append([]string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}, defaultCapabilities...), Memory: 8 << 30,
					Devices: func() ([]specs.LinuxDevice, error) { return []specs.LinuxDevice{{Path: "/dev/sda"}}, nil }},
				Pod: pod, Container: &pod.Spec.Containers[0],
				Image:      ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}, Env: []string{"PATH=/bin", "X=image"}, WorkingDir: "/srv"},
				User:       image.User{UID: 7, GID: 8, Groups: []uint32{9}},
				Namespaces: Namespaces{Network: "/ns/net", IPC: "/ns/ipc", UTS: "/ns/uts"}, Hostname: "web", Cgroup: "/g/pod/c", Group: "uid",
			}
			if d.HasArg("no-command") {
				in.Image.Entrypoint, in.Image.Cmd = nil, nil
			}
			if d.HasArg("v2") {
				in.Host.Unified, in.Host.Throttling, in.Host.Allocatable = true, 0.9, 4<<30
			}
			if d.HasArg("huge") {
				in.Host.HugePages = []int64{64 << 10, 2 << 20, 1 << 30}
			}
			if d.HasArg("oom-floor") {
				floor := 0
				in.Host.OOMFloor = &floor
			}
			if d.HasArg("host-namespaces") {
				in.Namespaces = Namespaces{}
			}
			s, err := Build(in)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			var b strings.Builder
			for _, a := range d.CmdArgs {
				print(&b, a.Key, s)
			}
			return b.String()
		})
	})
}

func print(b *strings.Builder, what string, s *specs.Spec) {
	switch what {
	case "process":
		fmt.Fprintf(b, "%q in %s as %d:%d %v, env %q, no new privileges %v, read-only root %v\n", s.Process.Args, s.Process.Cwd, s.Process.User.UID, s.Process.User.GID,
			s.Process.User.AdditionalGids, s.Process.Env, s.Process.NoNewPrivileges, s.Root.Readonly)
	case "caps":
		fmt.Fprintf(b, "%s\n", strings.Join(s.Process.Capabilities.Bounding, " "))
	case "oom":
		fmt.Fprintf(b, "oom_score_adj %d\n", *s.Process.OOMScoreAdj)
	case "resources":
		r := s.Linux.Resources
		fmt.Fprintf(b, "shares %d", *r.CPU.Shares)
		if r.CPU.Quota != nil {
			fmt.Fprintf(b, ", %d of %d µs", *r.CPU.Quota, *r.CPU.Period)
		}
		if r.Memory != nil {
			fmt.Fprintf(b, ", %d bytes", *r.Memory.Limit)
		}
		for _, k := range slices.Sorted(maps.Keys(r.Unified)) {
			fmt.Fprintf(b, ", %s %s", k, r.Unified[k])
		}
		for _, l := range r.HugepageLimits {
			fmt.Fprintf(b, ", %d bytes of %s pages", l.Limit, l.Pagesize)
		}
		b.WriteByte('\n')
	case "namespaces":
		for _, n := range s.Linux.Namespaces {
			fmt.Fprintf(b, "%s %s\n", n.Type, n.Path)
		}
		fmt.Fprintf(b, "host name %q\n", s.Hostname)
	case "hidden":
		fmt.Fprintf(b, "%d paths hidden, %d read-only, %d devices, all allowed %v\n", len(s.Linux.MaskedPaths), len(s.Linux.ReadonlyPaths), len(s.Linux.Devices), s.Linux.Resources.Devices[0].Allow)
		i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/sys" })
		fmt.Fprintf(b, "/sys %v\n", s.Mounts[i].Options)
	case "sysctl":
		fmt.Fprintf(b, "%v\n", s.Linux.Sysctl)
	}
}

func TestAContainerThatMustNotRunAsRootDoesNot(t *testing.T) {
	yes := true
	zero := int64(0)
	sc := v1.SecurityContext{RunAsNonRoot: &yes}
	if err := CheckNonRoot(sc, image.User{UID: 0}, ocispec.ImageConfig{}); err == nil || !strings.Contains(err.Error(), "runAsUser") {
		t.Errorf("root of the image: %v", err)
	}
	if err := CheckNonRoot(sc, image.User{UID: 5}, ocispec.ImageConfig{}); err != nil {
		t.Errorf("another user: %v", err)
	}
	sc.RunAsUser = &zero
	if err := CheckNonRoot(sc, image.User{UID: 0}, ocispec.ImageConfig{User: "5"}); err == nil {
		t.Error("root asked for by the Pod was let through")
	}
}

func TestWhoAContainerRunsAs(t *testing.T) {
	uid, gid := int64(5), int64(6)
	for _, c := range []struct {
		sc    v1.SecurityContext
		image string
		want  string
	}{
		{v1.SecurityContext{}, "web:www", "web:www"},
		{v1.SecurityContext{RunAsUser: &uid}, "web:www", "5"},
		{v1.SecurityContext{RunAsGroup: &gid}, "web:www", "web:6"},
		{v1.SecurityContext{RunAsUser: &uid, RunAsGroup: &gid}, "", "5:6"},
		{v1.SecurityContext{}, "", ""},
	} {
		if got := UserSpec(c.sc, c.image); got != c.want {
			t.Errorf("image user %q: %q, want %q", c.image, got, c.want)
		}
	}
}
