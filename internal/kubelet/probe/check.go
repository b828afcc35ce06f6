package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Target is the container to be asked.
type Target struct {
	IP        string // of the Pod
	Container *v1.Container
	// Exec runs a command in the container and gives its exit status and the beginning of its output.
	Exec func(ctx context.Context, command []string) (status uint32, output string, err error)
}

// Result of one check.
type Result struct {
	OK      bool
	Message string // why not
	// Early says that nothing listened yet: a starting program is worth asking again soon.
	Early bool
}

func failed(format string, a ...any) Result { return Result{Message: fmt.Sprintf(format, a...)} }

// Check asks once. ctx carries the probe's timeout.
func Check(ctx context.Context, h v1.ProbeHandler, t Target) Result {
	switch {
	case h.Exec != nil:
		return checkExec(ctx, h.Exec, t)
	case h.HTTPGet != nil:
		return checkHTTP(ctx, h.HTTPGet, t)
	case h.TCPSocket != nil:
		return checkTCP(ctx, h.TCPSocket, t)
	case h.GRPC != nil:
		return checkGRPC(ctx, h.GRPC, t)
	}
	return failed("the probe names no check; set exec, httpGet, tcpSocket or grpc")
}

func checkExec(ctx context.Context, e *v1.ExecAction, t Target) Result {
	status, output, err := t.Exec(ctx, e.Command)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return failed("command timed out: %q", e.Command)
	case err != nil:
		return failed("command %q: %v", e.Command, err)
	case status != 0:
		if output == "" {
			output = fmt.Sprintf("command %q ended with exit code %d", e.Command, status)
		}
		return Result{Message: output}
	}
	return Result{OK: true}
}

// maxBody bounds what is read of an answer; only the beginning of a failing one is shown.
const maxBody = 10 << 10

// transport makes a connection per check: one kept open would go on reaching a server that accepts no new ones.
var transport = &http.Transport{
	DisableKeepAlives: true,
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // a probe asks whether it answers, not who it is
}

func checkHTTP(ctx context.Context, a *v1.HTTPGetAction, t Target) Result {
	req, err := HTTPRequest(ctx, a, t)
	if err != nil {
		return failed("%v", err)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != via[0].URL.Hostname() || len(via) > 10 {
			return http.ErrUseLastResponse // it answered; where else it points is not the container's health
		}
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		return Result{Message: fmt.Sprintf("Get %q: %v", req.URL, unwrapURL(err)), Early: early(err)}
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 400 {
		return Result{OK: true}
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, maxBody))
	return failed("HTTP probe failed with statuscode: %d", res.StatusCode)
}

// HTTPRequest makes the request of an httpGet action, which hooks use too.
func HTTPRequest(ctx context.Context, a *v1.HTTPGetAction, t Target) (*http.Request, error) {
	port, err := resolvePort(a.Port, t.Container)
	if err != nil {
		return nil, err
	}
	host := a.Host
	if host == "" {
		host = t.IP
	}
	scheme := "http"
	if a.Scheme == v1.URISchemeHTTPS {
		scheme = "https"
	}
	u, err := url.Parse(a.Path)
	if err != nil {
		u = &url.URL{Path: a.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kube-probe/gitopsd")
	req.Header.Set("Accept", "*/*")
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		if http.CanonicalHeaderKey(h.Name) == "User-Agent" || http.CanonicalHeaderKey(h.Name) == "Accept" {
			req.Header.Del(h.Name)
		}
		req.Header.Add(h.Name, h.Value)
	}
	return req, nil
}

func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func checkTCP(ctx context.Context, a *v1.TCPSocketAction, t Target) Result {
	port, err := resolvePort(a.Port, t.Container)
	if err != nil {
		return failed("%v", err)
	}
	host := a.Host
	if host == "" {
		host = t.IP
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return Result{Message: err.Error(), Early: early(err)}
	}
	conn.Close()
	return Result{OK: true}
}

func checkGRPC(ctx context.Context, a *v1.GRPCAction, t Target) Result {
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(t.IP, strconv.Itoa(int(a.Port))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/gitopsd"))
	if err != nil {
		return failed("%v", err)
	}
	defer conn.Close()
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return Result{Message: fmt.Sprintf("gRPC health check of port %d: %v", a.Port, err), Early: strings.Contains(err.Error(), "connection refused")}
	}
	if res.Status != healthpb.HealthCheckResponse_SERVING {
		return failed("service unhealthy (responded with %q)", res.Status)
	}
	return Result{OK: true}
}

func early(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func resolvePort(p intstr.IntOrString, c *v1.Container) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for _, have := range c.Ports {
		if have.Name == p.StrVal {
			return int(have.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil && n > 0 && n < 65536 {
		return n, nil
	}
	return 0, fmt.Errorf("the probe's port %q is no number, and container %s has no port of that name", p.StrVal, c.Name)
}

// period, timeout and delay of a probe; the API fills in the first two, a checkpoint of an old Pod may lack them.
func period(p *v1.Probe) time.Duration {
	if p.PeriodSeconds <= 0 {
		return 10 * time.Second
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

func timeout(p *v1.Probe) time.Duration {
	return time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
}
