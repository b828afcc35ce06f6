package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	custommetrics "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalmetrics "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
)

// adapter serves custom.metrics.k8s.io and external.metrics.k8s.io, as those of Prometheus and of clouds do, behind the cluster's own API.
type adapter struct {
	pods func(ctx context.Context, namespace, selector string) (*corev1.PodList, error)

	// backlog is what all the Pods together have to do, each an equal share: the metric "backlog" of each Pod.
	backlog atomic.Int64
	// requests is the metric "requests" of any Service.
	requests atomic.Int64
	// messages is the metric "messages" of what is not in the cluster, for the label queue=orders.
	messages atomic.Int64
}

func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var answer any
	switch {
	case len(parts) == 3 && parts[0] == "apis":
		answer = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: parts[1] + "/" + parts[2]}
	case len(parts) == 8 && strings.Join(parts[5:], "/") == "pods/*/backlog":
		pods, err := a.pods(r.Context(), parts[4], r.URL.Query().Get("labelSelector"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		var list custommetrics.MetricValueList
		for i := range pods.Items {
			list.Items = append(list.Items, measured("Pod", pods.Items[i].Name, parts[4], "backlog", a.backlog.Load()/int64(len(pods.Items))))
		}
		answer = of(&list, &list.TypeMeta, custommetrics.SchemeGroupVersion.String(), "MetricValueList")
	case len(parts) == 8 && parts[5] == "services" && parts[7] == "requests":
		list := custommetrics.MetricValueList{Items: []custommetrics.MetricValue{measured("Service", parts[6], parts[4], "requests", a.requests.Load())}}
		answer = of(&list, &list.TypeMeta, custommetrics.SchemeGroupVersion.String(), "MetricValueList")
	case len(parts) == 6 && parts[5] == "messages" && r.URL.Query().Get("labelSelector") == "queue=orders":
		list := externalmetrics.ExternalMetricValueList{Items: []externalmetrics.ExternalMetricValue{
			{MetricName: "messages", Timestamp: metav1.Now(), Value: *resource.NewQuantity(a.messages.Load(), resource.DecimalSI)},
		}}
		answer = of(&list, &list.TypeMeta, externalmetrics.SchemeGroupVersion.String(), "ExternalMetricValueList")
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a client that does not read on is its own fault
}

func measured(kind, name, namespace, metric string, value int64) custommetrics.MetricValue {
	return custommetrics.MetricValue{
		DescribedObject: corev1.ObjectReference{Kind: kind, Namespace: namespace, Name: name, APIVersion: "v1"},
		Metric:          custommetrics.MetricIdentifier{Name: metric}, Timestamp: metav1.Now(), Value: *resource.NewQuantity(value, resource.DecimalSI),
	}
}

// of says of an answer what it is.
func of(answer any, t *metav1.TypeMeta, apiVersion, kind string) any {
	t.APIVersion, t.Kind = apiVersion, kind
	return answer
}

// startAdapter puts an adapter beside the cluster, and its two APIs into that of the cluster, by way of a Service of a namespace that there is.
func startAdapter(t *testing.T, ctx context.Context, namespace string) *adapter {
	t.Helper()
	s := theShop
	a := &adapter{pods: func(ctx context.Context, namespace, selector string) (*corev1.PodList, error) {
		return s.API.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	}}
	outside, err := url.Parse(s.GitURL())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(a)
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Do(func() (err error) {
		server.Listener, err = net.Listen("tcp", net.JoinHostPort(outside.Hostname(), "0"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, number, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		t.Fatal(err)
	}

	const name = "metrics-adapter"
	if _, err := s.API.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.API.DiscoveryV1().EndpointSlices(namespace).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{outside.Hostname()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(port))}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg, err := s.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := aggregator.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	services := client.ApiregistrationV1().APIServices()
	for _, gv := range []struct{ group, version string }{
		{custommetrics.SchemeGroupVersion.Group, custommetrics.SchemeGroupVersion.Version},
		{externalmetrics.SchemeGroupVersion.Group, externalmetrics.SchemeGroupVersion.Version},
	} {
		service := gv.version + "." + gv.group
		if _, err := services.Create(ctx, &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: service},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: gv.group, Version: gv.version, GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
				Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: name},
			},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.Delete(afterwards(t), service, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		until(t, ctx, service+" is available", func() (bool, any) {
			got, err := services.Get(ctx, service, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			for _, c := range got.Status.Conditions {
				if c.Type == apiregistrationv1.Available && c.Status == apiregistrationv1.ConditionTrue {
					return true, nil
				}
			}
			return false, got.Status.Conditions
		})
		t.Logf("%s is available after %s", service, time.Since(start).Round(time.Millisecond))
	}
	return a
}
