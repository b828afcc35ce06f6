package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/gitopsd/gitopsd/internal/dns"
	"github.com/gitopsd/gitopsd/internal/ingress"
	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/csi"
	"github.com/gitopsd/gitopsd/internal/kubelet/devices"
	"github.com/gitopsd/gitopsd/internal/kubelet/disks"
	"github.com/gitopsd/gitopsd/internal/kubelet/dra"
	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/identity"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/lsm"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
	"github.com/gitopsd/gitopsd/internal/kubelet/podresources"
	"github.com/gitopsd/gitopsd/internal/kubelet/probe"
	"github.com/gitopsd/gitopsd/internal/kubelet/reference"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/server"
	"github.com/gitopsd/gitopsd/internal/kubelet/static"
	"github.com/gitopsd/gitopsd/internal/kubelet/stats"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
	"github.com/gitopsd/gitopsd/internal/netpolicy"
	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/internal/proxy"
	"github.com/gitopsd/gitopsd/internal/resident"
)

// Run is the node daemon's whole life. It returns when ctx ends, with all containers running on, or with what kept it from starting.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	locked, err := lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer locked.Close()
	listener, err := listen(cfg.Bind, cfg.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	d := &daemon{cfg: &cfg, changed: make(chan struct{}, 1), going: going{stages: cfg.stages}}
	return d.run(ctx, listener)
}

// daemon is the parts of a running node.
type daemon struct {
	cfg *Config

	runtime *runtime.Runtime
	network *podNetwork
	proxy   *proxy.Proxy
	policy  *netpolicy.Enforcer
	pods    *pod.Set
	node    *pod.Node
	images  *image.Store
	disks   *disks.Disks
	devices *devices.Devices
	drivers *csi.Node
	static  *staticPods
	dns     *dns.Server     // nil: Pods use the host's resolver
	ingress *ingress.Server // nil: the node serves no Ingresses

	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	own       informers.SharedInformerFactory // for the node's own Node, whole: of all Nodes the API server shows a node only what routes are made from

	runtimeDown atomic.Pointer[string]
	changed     chan struct{} // something that the Node's conditions depend on did
	facts       env.Facts
	going       going
	pressure    pressure
	podMemory   int64 // bytes that Pods may have together; 0 for any
}

// settled is when starting is over, and with it the need for most of the program's text that starting touched.
const settled = 20 * time.Second

// heapBudget is what the heap may grow to under load, such as that of the ingress, as long as less of it is live.
const heapBudget = 64 << 20

// netnsReady is how many network namespaces are kept ready for the next Pods.
const netnsReady = 8

func (d *daemon) run(ctx context.Context, listener net.Listener) error {
	cfg := d.cfg
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	// A part that cannot go on ends the daemon with its reason; the containers run on and a supervisor starts it again.
	must := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}

	tree, err := cgroup.Open(cfg.CgroupRoot)
	if err != nil {
		return err
	}
	hostFacts, err := host(ctx, tree)
	if err != nil {
		return err
	}
	if err := d.reserve(tree, &hostFacts); err != nil {
		return err
	}
	cpus, err := d.processors()
	if err != nil {
		return err
	}
	space, err := userns.Find(register.MaxPods)
	if err != nil {
		return err
	}
	users, err := userns.Open(space, podsDir(cfg.DataDir))
	if err != nil {
		return err
	}
	if cfg.Containerd == "" {
		if err := runtime.Installed(); err != nil {
			return err
		}
	}
	id, err := identity.Join(ctx, identity.Options{
		Server: cfg.Server, Token: cfg.Token, Dir: pkiDir(cfg.DataDir), Node: cfg.Name,
		IPs: []net.IP{net.ParseIP(cfg.IP)}, Names: []string{cfg.Name}, Patience: cfg.JoinTimeout,
	})
	if err != nil {
		return err
	}
	// Only now: a node that may not join leaves no process behind.
	collector := logs.NewClient(filepath.Join(cfg.DataDir, "streams"), cfg.Release, cfg.rotation, cfg.Self, "logger")
	must(func() error { return collector.Ensure(ctx) })
	pool := namespaces.NewPool(netnsReady)
	wg.Go(func() { pool.Run(ctx) })

	address := cfg.Containerd
	if address == "" {
		own := runtime.NewDaemon(filepath.Join(cfg.DataDir, "containerd"))
		address = own.Address()
		must(func() error { return own.Run(ctx, func() {}) })
	}
	if d.runtime, err = runtime.Connect(address, filepath.Join(cfg.DataDir, "exec"), filepath.Join(cfg.DataDir, "roots")); err != nil {
		return err
	}
	starting := "containerd at " + address + " does not answer yet"
	d.runtimeDown.Store(&starting)

	if d.client, err = kubernetes.NewForConfig(id.Config()); err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	d.informers = informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithTransform(lean))
	d.own = informers.NewSharedInformerFactoryWithOptions(d.client, 0, informers.WithTransform(lean), informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, cfg.Name).String()
	}))
	if d.network, err = newPodNetwork(cfg); err != nil {
		return err
	}
	told, err := d.openServices(ctx)
	if err != nil {
		return err
	}
	d.facts = env.Facts{HostIPs: []string{cfg.IP}, Allocatable: d.allocatable(register.Capacity(cfg.DataDir))}
	events := record.NewBroadcaster()
	events.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: d.client.CoreV1().Events("")})
	defer events.Shutdown()

	modules := lsm.Detect("/")
	if err := modules.Load(); err != nil {
		slog.Warn("containers are less confined than they could be", "err", err)
	}
	d.images = image.New(d.runtime.Client, image.Pulling{
		Puller:    image.Registry{Client: d.runtime.Client, Mirror: cfg.mirror, HostsDir: cfg.RegistryHostsDir},
		Providers: cfg.providers, MaxParallel: cfg.parallelPulls(),
	}, cfg.DataDir)
	objects := reference.New(d.client)
	recorder := events.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: cfg.Name})
	if err := d.openDisks(id.Config(), recorder); err != nil {
		return err
	}
	if err := d.openDrivers(objects, recorder, modules); err != nil {
		return err
	}
	devicesChanged := func() { d.poke(); d.pods.DevicesChanged() } // not called before there are Pods
	if d.devices, err = devices.Open(cfg.DevicePluginDir, podsDir(cfg.DataDir), devicesChanged); err != nil {
		return err
	}
	deviceDrivers := dra.NewDrivers(d.client, cfg.Name, devicesChanged)
	claims, err := dra.Open(deviceDrivers, podsDir(cfg.DataDir), func(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error) {
		return d.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return err
	}
	wg.Go(func() { deviceDrivers.Run(ctx) })
	wg.Go(func() { d.runtime.Collect(ctx) })
	d.node = &pod.Node{
		Client: d.client, Recorder: recorder,
		Runtime: d.runtime, Images: d.images, Logs: collector, Objects: objects, Status: status.New(d.client), Probes: probe.NewResults(), Starts: trace.New(), Cgroups: tree, Host: hostFacts,
		Allocatable: d.facts.Allocatable, CPUs: cpus, Devices: d.devices, Claims: claims, CDIDirs: cfg.CDISpecDirs,
		Dir: podsDir(cfg.DataDir), LogDir: cfg.PodLogDir, Creating: make(chan struct{}, 2*goruntime.NumCPU()),
		Facts:    func() env.Facts { return d.facts },
		Services: told.of,
		Rules:    pod.Rules{Sysctls: cfg.sysctls, Modules: modules, Node: d.stored},
		Seccomp:  seccompProfiles(filepath.Join(cfg.DataDir, "seccomp")),
		Plan: step.Plan{
			Steps: []step.Step{
				step.Directory{}, step.Shim{End: d.runtime.EndShims}, step.Cgroup{Tree: tree, Host: hostFacts}, step.Handler{Class: objects.RuntimeClass, Runtime: runtime.ForHandler},
				step.Users{Ranges: users, Able: runtime.GivesUsers},
				d.volumes(ctx, objects, recorder),
				step.Namespaces{Pool: pool, Tree: tree, NodeName: cfg.Name, Domain: cfg.Domain, Holder: []string{cfg.Self, "hold"}},
				step.Devices{Devices: d.devices, Claims: claims},
				step.Resolver{ClusterDNS: d.clusterDNS, Domain: cfg.Domain, HostFile: cfg.ResolvConf},
				step.Network{Attacher: d.network.attacher, Current: d.network.current, HostIPs: func() []string { return []string{cfg.IP} }, Guard: d.guard},
				step.Hosts{},
			},
			Late: []string{step.NetworkName, step.HostsName},
		},
	}
	must(func() error { return id.Run(ctx, d.client, d.warn) })
	d.pods = pod.NewSet(d.node)
	must(func() error { return d.devices.Run(ctx) })
	must(func() error {
		s := podresources.Server{Pods: d.pods.List, PodsDir: d.node.Dir, Devices: d.devices, Claims: claims, CPUs: cpus}
		return s.Run(ctx, podresources.Socket(cfg.KubeletDir))
	})

	d.static = &staticPods{
		daemon: d, folder: static.Folder{Path: cfg.PodManifestPath, Node: cfg.Name}, kick: make(chan struct{}, 1), refused: map[types.UID]bool{},
	}

	podInformer := d.podInformer()
	d.openPressure(podInformer.GetStore())
	d.pods.Refuse = d.pressure.admit
	if err := d.watchOwnNode(cancel); err != nil {
		return err
	}
	if err := d.openDNS(); err != nil {
		return err
	}
	if err := d.openIngress(); err != nil {
		return err
	}
	services, err := proxy.New(proxy.Config{NodeName: cfg.Name, ClusterCIDRs: cfg.clusterCIDRs, Informers: d.informers})
	if err != nil {
		return fmt.Errorf("carrying out Services: %w", err)
	}
	d.proxy, d.node.Drained = services, services.Drained
	d.policy, err = netpolicy.New(netpolicy.Config{
		ClusterCIDRs: cfg.clusterCIDRs, Informers: d.informers, Pods: podInformer, Client: d.client, Places: d.network.places, Dir: filepath.Join(cfg.DataDir, "netpolicy"), OwnDNS: d.dns != nil,
	})
	if err != nil {
		return fmt.Errorf("enforcing NetworkPolicies: %w", err)
	}
	nodes := d.informers.Core().V1().Nodes()
	nodes.Informer()
	d.informers.Start(ctx.Done())
	d.own.Start(ctx.Done())
	must(func() error { return services.Run(ctx) })
	must(func() error { return d.policy.Run(ctx) })
	if d.dns != nil {
		must(func() error { return d.dns.Run(ctx) })
	}
	if d.ingress != nil {
		must(func() error { return d.ingress.Run(ctx) })
	}
	must(func() error {
		a, err := d.network.attacher(ctx)
		if err != nil || a == nil {
			return nil
		}
		d.poke()
		if d.dns != nil {
			d.dns.Look() // at the bridge, which is there now
		}
		return d.network.get().Run(ctx, nodes)
	})

	wg.Go(func() { d.disks.Run(ctx) })
	wg.Go(func() { told.run(ctx) })
	wg.Go(func() { d.drivers.Run(ctx, d.pods.List) })
	registry := &plugins.Watcher{Dir: d.drivers.Registry(), Kinds: map[string]plugins.Kind{registration.CSIPlugin: d.drivers, registration.DRAPlugin: deviceDrivers}}
	must(func() error { return registry.Run(ctx) })

	reg := &register.Node{
		Client: d.client, Name: cfg.Name, Labels: cfg.Labels, IngressPorts: cfg.Ingress.ports(), PodCIDRs: d.network.ranges, WireGuardKey: d.network.key, IPs: []string{cfg.IP}, Port: int32(listener.Addr().(*net.TCPAddr).Port), DataDir: cfg.DataDir,
		Version: cfg.KubeVersion, Containerd: d.runtime.Version, Images: d.images.List, Changed: d.changed,
		Event:       d.event,
		Allocatable: d.allocatable,
		Offer:       d.devices.Offer,
		Observe: func() register.Observed {
			return register.Observed{Runtime: *d.runtimeDown.Load(), Network: d.network.down(), ShuttingDown: d.going.down.Load(), Pressure: d.pressure.conditions()}
		},
		Stored:   d.stored,
		InUse:    d.drivers.InUse,
		Reported: d.drivers.Reported,
		Handlers: runtime.Handlers(d.node.Host.RecursiveReadOnly, runtime.GivesUsers("") == nil),
	}
	wg.Go(func() {
		reg.Run(ctx, func(n *v1.Node) {
			wg.Go(func() { register.RenewLease(ctx, d.client, func() *v1.Node { return cmp.Or(d.stored(), n) }) })
		})
	})
	must(func() error {
		srv := &server.Server{Pods: d.pods, Node: d.node, Runtime: d.runtime, Logs: collector, Stats: &stats.Source{
			Node: cfg.Name, DataDir: cfg.DataDir, Cgroups: tree, Pods: d.pods.List, Volumes: d.figures, Start: time.Now(),
		}, Access: &server.Access{Client: d.client, Node: cfg.Name}, Facts: server.Facts{
			Address: cfg.Bind, Port: int32(listener.Addr().(*net.TCPAddr).Port), ClusterDomain: cfg.Domain, ClusterDNS: d.clusterDNS, Metrics: d.partMetrics(),
			CgroupRoot: cfg.CgroupRoot, Containerd: address, PodLogDir: cfg.PodLogDir, StaticPodPath: cfg.PodManifestPath, LogRotation: cfg.rotation, SystemLogs: cfg.systemLogs(), UnsafeSysctls: cfg.AllowedUnsafeSysctls, ParallelPulls: cfg.parallelPulls(),
			MaxPods: register.MaxPods, Shutdown: cfg.Shutdown,
			Eviction: cfg.Eviction, Images: cfg.Images, Allocatable: cfg.Allocatable, Throttling: cfg.Throttling, CPUs: cfg.CPUs,
		}}
		srv.Stats.NetNS = func(p *v1.Pod) string { return srv.NetNS(p.UID) }
		return srv.Serve(ctx, listener, id)
	})
	if os.Getenv("GOGC") == "" {
		resident.Pace(heapBudget)
	}
	release := time.AfterFunc(settled, resident.ReleaseProgram)
	defer release.Stop()
	if err := d.follow(ctx, must, podInformer); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	wg.Wait()
	d.pods.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	slog.Info("node daemon ends; containers run on")
	return nil
}

// guard keeps a Pod without an interface until its NetworkPolicies are in force.
func (d *daemon) guard(ctx context.Context, pod *v1.Pod) error { return d.policy.Admit(ctx, pod) }

// stored is the node's Node as the API has it; nil while it has not been listed.
func (d *daemon) stored() *v1.Node {
	node, err := d.own.Core().V1().Nodes().Lister().Get(d.cfg.Name)
	if err != nil {
		return nil
	}
	return node
}

// lean drops what nothing on a node reads and what is most of many objects' size.
func lean(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	if n, ok := obj.(*v1.Node); ok {
		n.Status.Images = nil
		maps.DeleteFunc(n.Annotations, func(name, _ string) bool { return name != network.AnnWireGuardKey })
	}
	return obj, nil
}

// poke has the Node's conditions looked at again.
func (d *daemon) poke() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}
