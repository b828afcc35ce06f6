package dra

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1"
)

// deviceID names a device in the cluster.
type deviceID struct{ driver, pool, name string }

func (i deviceID) String() string { return i.driver + "/" + i.pool + "/" + i.name }

// health is what a driver said last about a device.
type health struct {
	is      v1.ResourceHealthStatus
	message string
	until   time.Time // from then on it is not known
}

// healthTimeout is how long a driver's word is good for that does not say how long: the published default (KEP-4680).
const healthTimeout = 30 * time.Second

// healthPause is between two tries to follow a driver's devices.
const healthPause = 5 * time.Second

// follow takes in how a driver's devices are until ctx ends, the driver goes, or says that it does not know.
func (d *Drivers) follow(ctx context.Context, driver string, conn *grpc.ClientConn) {
	client := healthapi.NewDRAResourceHealthClient(conn)
	for {
		stream, err := client.NodeWatchResources(ctx, &healthapi.NodeWatchResourcesRequest{})
		for err == nil {
			var said *healthapi.NodeWatchResourcesResponse
			if said, err = stream.Recv(); err == nil {
				d.takeHealth(driver, said.Devices)
			}
		}
		if ctx.Err() != nil || conn.GetState() == connectivity.Shutdown || status.Code(err) == codes.Unimplemented {
			return
		}
		slog.Debug("a driver does not tell how its devices are; it is asked again", "driver", driver, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(healthPause):
		}
	}
}

// takeHealth takes in what a driver says about some of its devices. Of the others its last word stays good.
func (d *Drivers) takeHealth(driver string, said []*healthapi.DeviceHealth) {
	changed := false
	d.mu.Lock()
	for _, s := range said {
		id := deviceID{driver, s.Device.GetPoolName(), s.Device.GetDeviceName()}
		now, before := readHealth(s, time.Now()), d.health[id]
		d.health[id] = now
		changed = changed || before.is != now.is || before.message != now.message || before.until.Before(time.Now())
	}
	d.arm()
	d.mu.Unlock()
	if changed {
		d.changed()
	}
}

// arm has it told when the first of the words that are good now is so no longer; d.mu is held.
func (d *Drivers) arm() {
	now, first := time.Now(), time.Time{}
	for _, h := range d.health {
		if h.until.After(now) && (first.IsZero() || h.until.Before(first)) {
			first = h.until
		}
	}
	if d.stale != nil {
		d.stale.Stop()
	}
	if first.IsZero() {
		return
	}
	d.stale = time.AfterFunc(first.Sub(now), func() {
		d.changed()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.arm()
	})
}

func readHealth(s *healthapi.DeviceHealth, now time.Time) health {
	h := health{is: v1.ResourceHealthStatusUnknown, message: s.Message}
	switch s.Health {
	case healthapi.HealthStatus_HEALTHY:
		h.is = v1.ResourceHealthStatusHealthy
	case healthapi.HealthStatus_UNHEALTHY:
		h.is = v1.ResourceHealthStatusUnhealthy
	}
	if len(h.message) > v1.ResourceHealthMessageMaxLength {
		// The cut may go through a character, and what is no text cannot be written.
		h.message = strings.ToValidUTF8(h.message[:v1.ResourceHealthMessageMaxLength-3], "") + "..."
	}
	timeout := healthTimeout
	if s.HealthCheckTimeoutSeconds > 0 {
		timeout = time.Duration(s.HealthCheckTimeoutSeconds) * time.Second
	}
	// By this process' own clock, which no one sets: when the driver looked is by the host's.
	h.until = now.Add(timeout)
	return h
}

// forget drops what a driver said that has gone; d.mu is held.
func (d *Drivers) forget(driver string) {
	for id := range d.health {
		if id.driver == driver {
			delete(d.health, id)
		}
	}
	go d.changed()
}

func (d *Drivers) healthOf(id deviceID) v1.ResourceHealth {
	d.mu.Lock()
	h, ok := d.health[id]
	d.mu.Unlock()
	out := v1.ResourceHealth{ResourceID: v1.ResourceID(id.String()), Health: v1.ResourceHealthStatusUnknown}
	if ok && time.Now().Before(h.until) {
		out.Health = h.is
		if h.message != "" {
			out.Message = ptr.To(h.message)
		}
	}
	return out
}

// Device is one that a container has of a claim.
type Device struct {
	Claim, Namespace string
	Driver           string
	Pool, Name       string
	Share            *string
	CDI              []string
}

// Of are the devices of a Pod's container; dir is the Pod's directory.
func (c *Claims) Of(container *v1.Container, dir string) []Device {
	var out []Device
	c.each(container, dir, func(_ v1.ResourceClaim, p *prepared, dev *device) {
		out = append(out, Device{Claim: p.Claim, Namespace: p.Namespace, Driver: dev.Driver, Pool: dev.Pool, Name: dev.Name, Share: dev.Share, CDI: dev.CDI})
	})
	return out
}

// Health is how the devices of a Pod's container are, as its status tells it; dir is the Pod's directory.
func (c *Claims) Health(container *v1.Container, dir string) []v1.ResourceStatus {
	var out []v1.ResourceStatus
	c.each(container, dir, func(want v1.ResourceClaim, _ *prepared, dev *device) {
		name := v1.ResourceName("claim:" + want.Name)
		if want.Request != "" {
			name = v1.ResourceName(fmt.Sprintf("claim:%s/%s", want.Name, want.Request))
		}
		if len(out) == 0 || out[len(out)-1].Name != name {
			out = append(out, v1.ResourceStatus{Name: name})
		}
		last := &out[len(out)-1]
		last.Resources = append(last.Resources, c.drivers.healthOf(deviceID{dev.Driver, dev.Pool, dev.Name}))
	})
	return out
}

// each goes through what a container has of the claims that it names.
func (c *Claims) each(container *v1.Container, dir string, f func(want v1.ResourceClaim, p *prepared, dev *device)) {
	if c == nil || len(container.Resources.Claims) == 0 {
		return
	}
	c.mu.Lock()
	list := c.pods[dir]
	c.mu.Unlock()
	for _, want := range container.Resources.Claims {
		for i := range list {
			for _, dev := range list[i].of(want) {
				f(want, &list[i], &dev)
			}
		}
	}
}
