package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestAProxiedRequestGoesToThePodsFirstPortUnlessAnotherIsAskedFor(t *testing.T) {
	pod := func(ip string, ports ...int32) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{PodIP: ip}, Spec: corev1.PodSpec{Containers: []corev1.Container{{}}}}
		if ip != "" {
			p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
		}
		for _, n := range ports {
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: n})
		}
		return p
	}
	for _, c := range []struct {
		name, port, want string
		pod              *corev1.Pod
	}{
		{"first port", "", "10.42.0.9:8080", pod("10.42.0.9", 8080, 9090)},
		{"port asked for", "9090", "10.42.0.9:9090", pod("10.42.0.9", 8080)},
		{"no port at all", "", "10.42.0.9", pod("10.42.0.9")},
		{"IPv6", "", "[fd00::9]:80", pod("fd00::9", 80)},
		{"IPv6 without a port", "", "[fd00::9]", pod("fd00::9")},
		{"no address yet", "", "", pod("", 80)},
		{"loopback", "", "", pod("127.0.0.1", 80)},
		{"link-local, where clouds keep credentials", "", "", pod("169.254.169.254", 80)},
	} {
		got, err := podTarget(c.pod, "http", c.port, nil)
		if got.host != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q, %v, want %q", c.name, got.host, err, c.want)
		}
	}
}

func TestAServicesPortIsFoundByNumberOrName(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "metrics", Port: 9090}}}}
	for port, want := range map[string]string{"80": "web", "9090": "metrics", "web": "web", "": ""} {
		if got, err := servicePort(s, port); got != want || err != nil {
			t.Errorf("port %q: got %q, %v, want %q", port, got, err, want)
		}
	}
	if got, err := servicePort(s, "81"); err == nil {
		t.Errorf("a port that the Service has not got: got %q, want an error", got)
	}
}
