package dra

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1"
	api "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
)

// goneFor is how long the devices of a driver that went are still published: it may be about to come back in a new version.
const goneFor = 30 * time.Second

// Drivers are those that have registered on the node.
type Drivers struct {
	client kubernetes.Interface
	node   string
	// changed is called when the health of devices may have.
	changed func()

	mu     sync.Mutex
	there  map[string][]*driver // by name; a new version may register before the old one goes
	wipe   map[string]*time.Timer
	health map[deviceID]health
	stale  *time.Timer // when a word about health is too old
}

type driver struct {
	api.DRAPluginClient
	conn     *grpc.ClientConn
	endpoint string
}

var _ plugins.Kind = (*Drivers)(nil)

// NewDrivers is without any.
func NewDrivers(client kubernetes.Interface, node string, changed func()) *Drivers {
	return &Drivers{client: client, node: node, changed: changed, there: map[string][]*driver{}, wipe: map[string]*time.Timer{}, health: map[deviceID]health{}}
}

// Add takes a driver in, and follows how its devices are until ctx ends or it goes.
func (d *Drivers) Add(ctx context.Context, p plugins.Plugin) error {
	if !slices.Contains(p.Versions, api.DRAPluginService) {
		return fmt.Errorf("driver %s speaks %s; this node speaks %s", p.Name, strings.Join(p.Versions, ", "), api.DRAPluginService)
	}
	conn, err := plugins.Connect(p.Endpoint)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.wipe[p.Name]; t != nil {
		t.Stop()
		delete(d.wipe, p.Name)
	}
	d.there[p.Name] = append(d.there[p.Name], &driver{api.NewDRAPluginClient(conn), conn, p.Endpoint})
	if slices.Contains(p.Versions, healthapi.DRAResourceHealthService) {
		go d.follow(ctx, p.Name, conn)
	}
	return nil
}

// Remove takes in that a driver has gone. Its devices are no longer published unless it comes back soon.
func (d *Drivers) Remove(p plugins.Plugin) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.there[p.Name]
	if i := slices.IndexFunc(list, func(have *driver) bool { return have.endpoint == p.Endpoint }); i >= 0 {
		list[i].conn.Close()
		list = slices.Delete(list, i, i+1)
	}
	d.there[p.Name] = list
	if len(list) == 0 {
		delete(d.there, p.Name)
		d.forget(p.Name)
		d.wipe[p.Name] = time.AfterFunc(goneFor, func() { d.unpublish(p.Name) })
	}
}

// get gives the driver that registered last.
func (d *Drivers) get(name string) (*driver, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if list := d.there[name]; len(list) > 0 {
		return list[len(list)-1], nil
	}
	return nil, fmt.Errorf("the driver %s has not registered on this node", name)
}

// unpublish removes the ResourceSlices of a driver that is gone, so that nobody is given its devices.
func (d *Drivers) unpublish(name string) {
	if _, err := d.get(name); err == nil {
		return // it has come back just now
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	of := fields.Set{"spec.nodeName": d.node, "spec.driver": name}
	if err := d.client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: of.String()}); err != nil {
		slog.Warn("the devices of a driver that is gone could not be taken back; it is tried again", "driver", name, "err", err)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.wipe[name] = time.AfterFunc(goneFor, func() { d.unpublish(name) })
	}
}

// Run takes back, once drivers have had the time to register, what those published that have not, because they went while this process was away. It ends with ctx.
func (d *Drivers) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(goneFor):
		}
		list, err := d.client.ResourceV1().ResourceSlices().List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", d.node).String()})
		if err != nil {
			if ctx.Err() == nil {
				slog.Debug("looking for devices of drivers that are gone failed; it is tried again", "err", err)
			}
			continue
		}
		for i := range list.Items {
			if name := list.Items[i].Spec.Driver; !d.known(name) {
				d.unpublish(name)
			}
		}
		return
	}
}

// known says that a driver is there, or that it is being seen to that it is not.
func (d *Drivers) known(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.there[name]) > 0 || d.wipe[name] != nil
}
