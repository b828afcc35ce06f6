package server

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"k8s.io/apiserver/pkg/apis/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/tracing"
	tracingv1 "k8s.io/component-base/tracing/api/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/configfile"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

// tracedAs is the service's name in traces; the same as kube-apiserver's, for dashboards that know it.
const tracedAs = "apiserver"

// newTracer sends spans of requests, and of what they ask of etcd, to where the file says (a TracingConfiguration of apiserver.config.k8s.io). Without a file
// it is nil: nothing is traced and nothing is paid for it. Instance tells this server from others of the same name.
func newTracer(ctx context.Context, file, instance string, member *etcd.Member) (tracing.TracerProvider, error) {
	if file == "" {
		return nil, nil
	}
	config, err := readTracing(file)
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %s: %w", file, err)
	}
	provider, err := tracing.NewProvider(ctx, config, nil, []resource.Option{resource.WithAttributes(
		attribute.String("service.name", tracedAs), attribute.String("service.instance.id", instance),
	)})
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %s: %w", file, err)
	}
	member.Trace(provider)
	return provider, nil
}

// traceRequests puts the tracer into the server's configuration. When the server stops, the library sends what is left.
func traceRequests(c *genericapiserver.Config, tracer tracing.TracerProvider) {
	if tracer != nil {
		c.TracerProvider = tracer
		c.LoopbackClientConfig.Wrap(tracing.WrapperFor(tracer))
	}
}

// readTracing reads a configuration of any of its versions; unknown fields are errors.
func readTracing(file string) (*tracingv1.TracingConfiguration, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	config, err := configfile.Decode[*apiserver.TracingConfiguration](content, "a TracingConfiguration")
	if err != nil {
		return nil, err
	}
	if err := tracingv1.ValidateTracingConfiguration(&config.TracingConfiguration, utilfeature.DefaultFeatureGate, nil).ToAggregate(); err != nil {
		return nil, err
	}
	return &config.TracingConfiguration, nil
}
