package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// tuners is a driver of the devices t1 and t2, each of which gives containers a variable by a CDI file that it writes.
type tuners struct {
	h      *host
	cdi    string
	helper *kubeletplugin.Helper
	health chan kubeletplugin.DeviceHealth

	mu     sync.Mutex
	ready  map[types.UID]bool
	calls  []string
	broken bool
}

const tunerDriver = "tuners.example.com"

func (d *tuners) start() {
	d.h.t.Helper()
	data, registry := filepath.Join(d.h.dir, "tuners"), filepath.Join(d.h.dir, "n", "kubelet", "plugins_registry")
	if err := errors.Join(os.MkdirAll(data, 0o755), os.MkdirAll(registry, 0o755)); err != nil {
		d.h.t.Fatal(err)
	}
	var err error
	d.helper, err = kubeletplugin.Start(context.Background(), d, kubeletplugin.DriverName(tunerDriver), kubeletplugin.KubeClient(d.h.client), kubeletplugin.NodeName("n1"),
		kubeletplugin.PluginDataDirectoryPath(data), kubeletplugin.RegistrarDirectoryPath(registry))
	if err != nil {
		d.h.t.Fatal(err)
	}
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: []resourcev1.Device{
		{Name: "t1", Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"band": {StringValue: ptr.To("vhf")}}},
		{Name: "t2", Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"band": {StringValue: ptr.To("uhf")}}},
	}}}}
	if err := d.helper.PublishResources(context.Background(), resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{"n1": pool}}); err != nil {
		d.h.t.Fatal(err)
	}
}

func (d *tuners) PrepareResourceClaims(_ context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[types.UID]kubeletplugin.PrepareResult{}
	for _, c := range claims {
		d.calls = append(d.calls, "prepare "+c.Name)
		if d.broken {
			out[c.UID] = kubeletplugin.PrepareResult{Err: errors.New("the aerial is down")}
			continue
		}
		var r kubeletplugin.PrepareResult
		for _, got := range c.Status.Allocation.Devices.Results {
			name := string(c.UID) + "-" + got.Device
			file := fmt.Sprintf(`{"cdiVersion": "0.6.0", "kind": "tuners.example.com/tuner", "devices": [{"name": %q, "containerEdits": {"env": ["TUNER_%s=%s"]}}]}`, name, strings.ToUpper(got.Device), got.Request)
			if err := os.WriteFile(filepath.Join(d.cdi, name+".json"), []byte(file), 0o600); err != nil {
				return nil, err
			}
			r.Devices = append(r.Devices, kubeletplugin.Device{Requests: []string{got.Request}, PoolName: got.Pool, DeviceName: got.Device, CDIDeviceIDs: []string{"tuners.example.com/tuner=" + name}})
		}
		d.ready[c.UID] = true
		out[c.UID] = r
	}
	return out, nil
}

func (d *tuners) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[types.UID]error{}
	for _, c := range claims {
		d.calls = append(d.calls, "unprepare "+c.Name)
		delete(d.ready, c.UID)
		out[c.UID] = nil
	}
	return out, nil
}

func (d *tuners) HandleError(_ context.Context, err error, msg string) {
	fmt.Println("driver:", msg, err)
}

// WatchHealthStatus tells whatever is put into d.health.
func (d *tuners) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case said := <-d.health:
			reports <- kubeletplugin.DeviceHealthReport{Devices: []kubeletplugin.DeviceHealth{said}}
		}
	}
}

func (d *tuners) called(what string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c == what {
			n++
		}
	}
	return n
}

func (d *tuners) prepared() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ready)
}

func (h *host) deviceClaim(name, spec string) {
	h.t.Helper()
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &c.Spec); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.ResourceV1().ResourceClaims("default").Create(h.ctx(), c, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

func TestPodsHaveDevicesOfTheirClaims(t *testing.T) {
	cdi := t.TempDir()
	h := start(t, "--cdi-spec-dirs", cdi)
	d := &tuners{h: h, cdi: cdi, health: make(chan kubeletplugin.DeviceHealth), ready: map[types.UID]bool{}}
	d.start()
	defer func() { d.helper.Stop() }()
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "tuner"}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "` + tunerDriver + `"`}}},
	}}
	if _, err := h.client.ResourceV1().DeviceClasses().Create(h.ctx(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const one = `{devices: {requests: [{name: main, exactly: {deviceClassName: tuner}}]}}`
	const loop = `command: [sh, -c, 'trap exit TERM; while :; do sleep 0.2; done']`
	template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
	if err := yaml.UnmarshalStrict([]byte("spec: "+one), &template.Spec); err != nil {
		t.Fatal(err)
	}

	h.run("a claim that a Pod shares with another is made ready once, and given back after both", func(t *testing.T) {
		h.deviceClaim("uhf", `{devices: {requests: [{name: main, exactly: {deviceClassName: tuner, selectors: [{cel: {expression: 'device.attributes["tuners.example.com"].band == "uhf"'}}]}}]}}`)
		for _, name := range []string{"a", "b"} {
			h.create(name, `{resourceClaims: [{name: t, resourceClaimName: uhf}], containers: [{name: c, `+loop+`, resources: {claims: [{name: t}]}}, {name: without, `+loop+`}]}`)
		}
		for _, name := range []string{"a", "b"} {
			h.wait(name, "to be ready", ready)
			if out := h.exec(name+":c", "sh", "-c", "echo $TUNER_T1$TUNER_T2"); out != "main\n" {
				t.Errorf("%s has %q", name, out)
			}
			if out := h.exec(name+":without", "sh", "-c", "echo $TUNER_T1$TUNER_T2"); out != "\n" {
				t.Errorf("a container of %s that does not name the claim has %q", name, out)
			}
		}
		h.delete("a")
		h.waitGone("a")
		if n := d.called("unprepare uhf"); n != 0 {
			t.Error("the claim was given back while a Pod used it")
		}
		h.killNode()
		h.startNode()
		h.delete("b")
		h.waitGone("b")
		if d.called("unprepare uhf") != 1 || d.prepared() != 0 {
			t.Errorf("the driver was asked %q", d.calls)
		}
		h.eventually("the claim to be free", func() (bool, string) {
			c, err := h.client.ResourceV1().ResourceClaims("default").Get(h.ctx(), "uhf", metav1.GetOptions{})
			return err == nil && c.Status.Allocation == nil && len(c.Status.ReservedFor) == 0 && len(c.Finalizers) == 0, fmt.Sprint(c, err)
		})
	})

	h.run("a claim of a Pod's own comes and goes with it, and who finds none free waits", func(t *testing.T) {
		if _, err := h.client.ResourceV1().ResourceClaimTemplates("default").Create(h.ctx(), template, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		spec := `{resourceClaims: [{name: t, resourceClaimTemplateName: any}], containers: [{name: c, ` + loop + `, resources: {claims: [{name: t, request: main}]}}]}`
		var had []string
		for _, name := range []string{"one", "two"} {
			h.create(name, spec)
			h.wait(name, "to be ready", ready)
			had = append(had, h.exec(name, "sh", "-c", "echo ${TUNER_T1:+t1}${TUNER_T2:+t2}"))
		}
		if slices.Sort(had); !slices.Equal(had, []string{"t1\n", "t2\n"}) {
			t.Errorf("two Pods have %q", had)
		}
		h.create("three", spec)
		h.told("three", "FailedScheduling", "cannot allocate all claims")
		h.delete("one")
		h.wait("three", "to be ready", ready)
		for _, name := range []string{"two", "three"} {
			h.delete(name)
			h.waitGone(name)
		}
		h.eventually("the Pods' claims to be gone", func() (bool, string) {
			list, err := h.client.ResourceV1().ResourceClaims("default").List(h.ctx(), metav1.ListOptions{})
			return err == nil && len(list.Items) == 1, fmt.Sprint(list, err)
		})
		if n := d.prepared(); n != 0 {
			t.Errorf("%d claims are still ready at the driver", n)
		}
	})

	h.run("a Pod tells how the devices of its claims are, and programs of the node whose they are", func(t *testing.T) {
		h.create("watched", `{resourceClaims: [{name: t, resourceClaimName: uhf}], containers: [{name: c, `+loop+`, resources: {claims: [{name: t, request: main}]}}]}`)
		h.wait("watched", "to be ready", ready)
		is := func(want v1.ResourceHealthStatus, message string) {
			t.Helper()
			h.wait("watched", "to say that its tuner is "+string(want), func(p *v1.Pod) bool {
				of := p.Status.ContainerStatuses[0].AllocatedResourcesStatus
				return len(of) == 1 && of[0].Name == "claim:t/main" && len(of[0].Resources) == 1 && of[0].Resources[0].ResourceID == tunerDriver+"/n1/t2" &&
					of[0].Resources[0].Health == want && ptr.Deref(of[0].Resources[0].Message, "") == message
			})
		}
		is(v1.ResourceHealthStatusUnknown, "")
		d.health <- kubeletplugin.DeviceHealth{PoolName: "n1", DeviceName: "t2", Health: kubeletplugin.HealthStatusHealthy, LastUpdated: time.Now()}
		is(v1.ResourceHealthStatusHealthy, "")
		d.health <- kubeletplugin.DeviceHealth{PoolName: "n1", DeviceName: "t2", Health: kubeletplugin.HealthStatusUnhealthy, Message: "noise", LastUpdated: time.Now(), HealthCheckTimeout: 3 * time.Second}
		is(v1.ResourceHealthStatusUnhealthy, "noise")
		is(v1.ResourceHealthStatusUnknown, "") // its word is too old
		said, err := podresources.NewPodResourcesListerClient(h.podResources()).Get(h.ctx(), &podresources.GetPodResourcesRequest{PodNamespace: "default", PodName: "watched"})
		if err != nil {
			t.Fatal(err)
		}
		of := said.PodResources.Containers[0].DynamicResources
		if len(of) != 1 || of[0].ClaimName != "uhf" || of[0].ClaimNamespace != "default" || len(of[0].ClaimResources) != 1 || of[0].ClaimResources[0].DriverName != tunerDriver ||
			of[0].ClaimResources[0].PoolName != "n1" || of[0].ClaimResources[0].DeviceName != "t2" || len(of[0].ClaimResources[0].CdiDevices) != 1 {
			t.Errorf("it has %v", of)
		}
	})

	h.run("what claims a Pod uses is found out anew if its record cannot be read", func(t *testing.T) {
		p := h.get("watched")
		h.killNode()
		record := filepath.Join(h.dir, "n", "pods", string(p.UID), "claims.json")
		if err := os.WriteFile(record, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		asked := d.called("prepare uhf")
		h.startNode()
		h.eventually("the record to be written anew", func() (bool, string) {
			b, err := os.ReadFile(record)
			return strings.Contains(string(b), `"claim":"uhf"`), fmt.Sprint(string(b), err)
		})
		h.eventually("the driver to be asked", func() (bool, string) { return d.called("prepare uhf") > asked, "" })
		if now := h.wait("watched", "to be ready", ready); now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID {
			t.Error("its container was started anew")
		}
		h.delete("watched")
		h.waitGone("watched")
		if n := d.prepared(); n != 0 {
			t.Errorf("%d claims are still ready at the driver", n)
		}
	})

	h.run("a Pod says what keeps its devices from it", func(t *testing.T) {
		d.mu.Lock()
		d.broken = true
		d.mu.Unlock()
		h.create("fails", `{resourceClaims: [{name: t, resourceClaimName: uhf}], containers: [{name: c, `+loop+`, resources: {claims: [{name: t}]}}]}`)
		h.told("fails", "FailedCreatePodSandBox", "the aerial is down")
		d.mu.Lock()
		d.broken = false
		d.mu.Unlock()
		h.wait("fails", "to be ready", ready)
		h.create("bypasses", `{nodeName: n1, resourceClaims: [{name: t, resourceClaimName: uhf}], containers: [{name: c, `+loop+`, resources: {claims: [{name: t}]}}]}`)
		h.told("bypasses", "FailedCreatePodSandBox", "is not reserved for the Pod")
		h.delete("fails")
		h.delete("bypasses")
		h.waitGone("fails")
		h.waitGone("bypasses")
	})

	h.run("what a driver published that is gone is taken back", func(t *testing.T) {
		d.helper.Stop()
		h.eventually("its devices to be gone", func() (bool, string) {
			list, err := h.client.ResourceV1().ResourceSlices().List(h.ctx(), metav1.ListOptions{})
			return err == nil && len(list.Items) == 0, fmt.Sprint(list, err)
		})
		d.start()
		h.create("again", `{resourceClaims: [{name: t, resourceClaimName: uhf}], containers: [{name: c, `+loop+`, resources: {claims: [{name: t}]}}]}`)
		h.wait("again", "to be ready", ready)
		h.delete("again")
		h.waitGone("again")
		if err := h.client.ResourceV1().ResourceClaims("default").Delete(h.ctx(), "uhf", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.eventually("the claim to be gone", func() (bool, string) {
			_, err := h.client.ResourceV1().ResourceClaims("default").Get(h.ctx(), "uhf", metav1.GetOptions{})
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		})
	})
}
