package controllers

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	"github.com/miekg/dns"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/accounttokens"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/apiserverendpoints"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/attachdetach"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/bootstraptokens"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claimprotection"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/clusterdns"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/clusterroleaggregation"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/cronjob"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/csr"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/daemonset"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/deployment"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/endpoints"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/endpointslice"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ephemeralvolume"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/garbagecollector"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/horizontalpodautoscaler"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingresscertificate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingressstatus"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/job"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/loadbalancer"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/localvolume"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/namespace"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodeipam"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodelifecycle"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/poddisruptionbudget"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podgc"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/policystatus"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/replicaset"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/resourceclaim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/resourcequota"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/respread"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/serviceaccount"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/servicecidr"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/snapshotschedule"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/statefulset"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/systemnamespaces"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ttlafterfinished"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/volumebinding"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/volumesnapshot"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
)

// Config is what the controllers need.
type Config struct {
	// Client, Metadata and Discovery reach the API server as a member of system:masters and without a client-side rate limit.
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface
	// REST reaches it the same way, for the groups that have clients of their own: scales and metrics.
	REST *rest.Config
	// Informers is the process's one factory. Run starts it once every controller has registered with it; whoever else listens on it may
	// start it as well, before or after.
	Informers informers.SharedInformerFactory
	Events    record.EventRecorder

	// CACertificate and CAKey sign node certificates; the certificate is also given to every Namespace.
	CACertificate *x509.Certificate
	CAKey         crypto.Signer
	// SignToken makes the tokens of Secrets that ask for one; nil: such Secrets stay empty.
	SignToken accounttokens.Sign

	// ClusterCIDRs are cut into blocks, one of each for the Pods of each Node.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are the ranges of cluster IPs that the cluster starts with.
	ServiceCIDRs []netip.Prefix
	// KubernetesIP is the cluster IP of the Service default/kubernetes; Advertise and AdvertisePort are where the API server is.
	KubernetesIP  netip.Addr
	Advertise     []netip.Addr
	AdvertisePort int32

	// ClusterDNS is the cluster IP of the Service kube-system/kube-dns; invalid: it is not made. ClusterDomain is the domain of the cluster's names.
	ClusterDNS    netip.Addr
	ClusterDomain string

	// Settled is until when nodes have to say which volumes are on their disks, and which addresses their Pods have, before others are given; zero when the cluster knows them.
	Settled time.Time
	// NodeMonitorGracePeriod is after how long a silent Node is given up; zero for the default.
	NodeMonitorGracePeriod time.Duration
	// NodeRates bound how fast Pods are taken off lost Nodes; zero for the defaults.
	NodeRates nodelifecycle.Rates
	// Scheduling is how the scheduler places Pods; those that are spread again are moved where it would put them.
	Scheduling profile.Config
	// LoadBalancers says who gives Services of type LoadBalancer which addresses.
	LoadBalancers loadbalancer.Config
	// ACME says from whom certificates of Ingresses are had.
	ACME ingresscertificate.Config
	// FinishedPodsKept is how many finished Pods stay; zero for the default.
	FinishedPodsKept int
}

// runner is what every controller is.
type runner interface {
	Run(ctx context.Context)
}

// Run starts all controllers, and returns when ctx has ended and they have stopped. Before that it returns only an error in cfg.
func Run(ctx context.Context, cfg Config) error {
	all, err := table(cfg)
	if err != nil {
		return err
	}
	cfg.Informers.StartWithContext(ctx)
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.Run(ctx) })
	}
	wg.Wait()
	return nil
}

// table lists the controllers.
func table(cfg Config) ([]runner, error) {
	if cfg.NodeMonitorGracePeriod == 0 {
		cfg.NodeMonitorGracePeriod = nodelifecycle.DefaultGrace
	}
	if cfg.NodeRates == (nodelifecycle.Rates{}) {
		cfg.NodeRates = nodelifecycle.DefaultRates
	}
	if cfg.FinishedPodsKept == 0 {
		cfg.FinishedPodsKept = podgc.DefaultKept
	}
	if len(cfg.Advertise) == 0 {
		return nil, fmt.Errorf("controllers: no address is advertised for the API server: Pods could not reach it")
	}
	pools, err := nodeipam.Pools(cfg.ClusterCIDRs)
	if err != nil {
		return nil, err
	}
	c, f, events := cfg.Client, cfg.Informers, cfg.Events
	kinds := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cfg.Discovery))
	scales, err := scale.NewForConfig(rest.CopyConfig(cfg.REST), kinds, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(cfg.Discovery))
	if err != nil {
		return nil, fmt.Errorf("controllers: a client of scale subresources: %w", err)
	}
	metrics, err := horizontalpodautoscaler.NewMetrics(cfg.REST, kinds, cfg.Discovery)
	if err != nil {
		return nil, fmt.Errorf("controllers: %w", err)
	}
	custom, err := snapshotclient.NewForConfig(customResources(cfg.REST))
	if err != nil {
		return nil, fmt.Errorf("controllers: a client of VolumeSnapshots: %w", err)
	}
	dynamics, err := dynamic.NewForConfig(customResources(cfg.REST))
	if err != nil {
		return nil, fmt.Errorf("controllers: a client of custom resources: %w", err)
	}
	snapshots := snapshotinformers.NewSharedInformerFactory(custom, 0)
	inv := inventory.New(cfg.Metadata, cfg.Discovery, f, watched...)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cfg.CACertificate.Raw})
	all := []runner{
		systemnamespaces.New(c, f),
		serviceaccount.New(c, f, ca),
		bootstraptokens.New(c, f),
		csr.New(c, f, csr.CA{Certificate: cfg.CACertificate, Key: cfg.CAKey}),
		nodeipam.New(c, f, events, pools, cfg.Settled),
		nodelifecycle.New(c, f, events, cfg.NodeMonitorGracePeriod, cfg.NodeRates),
		deployment.New(c, f, events),
		replicaset.New(c, f, events),
		replicaset.NewForReplicationControllers(c, f, events),
		statefulset.New(c, f, events),
		claimprotection.New(c, f),
		volumebinding.New(c, f, events),
		attachdetach.New(c, f, events),
		localvolume.New(c, f, snapshots, events, cfg.Settled),
		volumesnapshot.New(c, custom, dynamics, f, snapshots, events),
		snapshotschedule.New(custom, f, snapshots, events, clock.RealClock{}),
		ephemeralvolume.New(c, f, events),
		resourceclaim.New(c, f, events),
		daemonset.New(c, f, events),
		respread.New(c, f, events, cfg.Scheduling, respread.DefaultPace),
		endpointslice.New(c, f, events),
		endpoints.New(c, f, events),
		ingressstatus.New(c, f, events),
		ingresscertificate.New(c, f, events, cfg.ACME),
		servicecidr.New(c, f, events, cfg.ServiceCIDRs),
		loadbalancer.New(c, f, events, cfg.LoadBalancers),
		podgc.New(c, f, cfg.FinishedPodsKept),
		clusterroleaggregation.New(c, f),
		job.New(c, f, events),
		cronjob.New(c, f, events, clock.RealClock{}),
		poddisruptionbudget.New(c, f, events, scales, kinds, cfg.Discovery),
		horizontalpodautoscaler.New(c, f, events, scales, kinds, metrics),
		ttlafterfinished.New(c, f),
		policystatus.New(c, f, cfg.Discovery, kinds),
		resourcequota.New(c, f, inv),
		namespace.New(c, f, cfg.Metadata, inv),
		garbagecollector.New(cfg.Metadata, inv),
		inv,
	}
	if cfg.SignToken != nil {
		tokens, err := accounttokens.New(c, f, ca, cfg.SignToken)
		if err != nil {
			return nil, err
		}
		all = append(all, tokens)
	}
	if cfg.ClusterDNS.IsValid() {
		all = append(all, clusterdns.New(c, f, events, cfg.ClusterDNS, dns.CanonicalName(cfg.ClusterDomain)))
	}
	if reachable := slices.DeleteFunc(slices.Clone(cfg.Advertise), netip.Addr.IsLoopback); len(reachable) > 0 {
		d := apiserverendpoints.Desired{ClusterIP: cfg.KubernetesIP, Addresses: reachable, Port: cfg.AdvertisePort}
		all = append(all, apiserverendpoints.New(c, f, d))
	} else {
		slog.Warn("the API server is advertised on loopback only: Pods cannot reach it, and the Service default/kubernetes is not made; set --advertise-address")
	}
	return all, nil
}

// customResources is a configuration for kinds that have no protobuf form.
func customResources(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	return config
}

// watched are the resources that some controller watches with their full objects, so that the inventory need not watch them a second time.
var watched = []schema.GroupVersionResource{
	corev1.SchemeGroupVersion.WithResource("pods"),
	corev1.SchemeGroupVersion.WithResource("nodes"),
	corev1.SchemeGroupVersion.WithResource("services"),
	corev1.SchemeGroupVersion.WithResource("endpoints"),
	corev1.SchemeGroupVersion.WithResource("secrets"),
	corev1.SchemeGroupVersion.WithResource("configmaps"),
	corev1.SchemeGroupVersion.WithResource("namespaces"),
	corev1.SchemeGroupVersion.WithResource("serviceaccounts"),
	corev1.SchemeGroupVersion.WithResource("limitranges"),
	corev1.SchemeGroupVersion.WithResource("resourcequotas"),
	corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"),
	corev1.SchemeGroupVersion.WithResource("persistentvolumes"),
	corev1.SchemeGroupVersion.WithResource("replicationcontrollers"),
	storagev1.SchemeGroupVersion.WithResource("storageclasses"),
	storagev1.SchemeGroupVersion.WithResource("csistoragecapacities"),
	storagev1.SchemeGroupVersion.WithResource("csidrivers"),
	storagev1.SchemeGroupVersion.WithResource("volumeattachments"),
	rbacv1.SchemeGroupVersion.WithResource("roles"),
	rbacv1.SchemeGroupVersion.WithResource("rolebindings"),
	rbacv1.SchemeGroupVersion.WithResource("clusterroles"),
	rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"),
	appsv1.SchemeGroupVersion.WithResource("deployments"),
	appsv1.SchemeGroupVersion.WithResource("replicasets"),
	appsv1.SchemeGroupVersion.WithResource("statefulsets"),
	appsv1.SchemeGroupVersion.WithResource("daemonsets"),
	appsv1.SchemeGroupVersion.WithResource("controllerrevisions"),
	batchv1.SchemeGroupVersion.WithResource("jobs"),
	batchv1.SchemeGroupVersion.WithResource("cronjobs"),
	policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"),
	autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"),
	admissionregistrationv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies"),
	networkingv1.SchemeGroupVersion.WithResource("ingresses"),
	networkingv1.SchemeGroupVersion.WithResource("ingressclasses"),
	networkingv1.SchemeGroupVersion.WithResource("servicecidrs"),
	networkingv1.SchemeGroupVersion.WithResource("ipaddresses"),
	discoveryv1.SchemeGroupVersion.WithResource("endpointslices"),
	coordinationv1.SchemeGroupVersion.WithResource("leases"),
	certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"),
}
