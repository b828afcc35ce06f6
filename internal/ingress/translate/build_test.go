package translate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// world is a cluster made of YAML documents. Everything is in the namespace shop unless it says otherwise.
type world struct {
	translate.Cluster
	services map[string]*corev1.Service
	slices   map[string][]*discoveryv1.EndpointSlice
	secrets  map[string]*corev1.Secret
}

func newWorld() *world {
	w := &world{services: map[string]*corev1.Service{}, slices: map[string][]*discoveryv1.EndpointSlice{}, secrets: map[string]*corev1.Secret{}}
	w.Service = func(name string) *corev1.Service { return w.services[name] }
	w.Slices = func(name string) []*discoveryv1.EndpointSlice { return w.slices[name] }
	w.Secret = func(name string) translate.Secret { return translate.Secret{Object: w.secrets[name]} }
	return w
}

func read(t *testing.T, d *datadriven.TestData) *world {
	t.Helper()
	w := newWorld()
	into := func(text string, obj metav1.Object) {
		if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
			t.Fatalf("%s: %v in\n%s", d.Pos, err, text)
		}
		if obj.GetNamespace() == "" {
			obj.SetNamespace("shop")
		}
	}
	for text := range strings.SplitSeq(d.Input, "---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		switch meta.Kind {
		case "IngressClass":
			c := &networkingv1.IngressClass{}
			into(text, c)
			w.Classes = append(w.Classes, c)
		case "Ingress":
			i := &networkingv1.Ingress{}
			into(text, i)
			w.Ingresses = append(w.Ingresses, i)
		case "Service":
			s := &corev1.Service{}
			into(text, s)
			w.services[s.Namespace+"/"+s.Name] = s
		case "Secret":
			s := &corev1.Secret{}
			into(text, s)
			w.secrets[s.Namespace+"/"+s.Name] = s
			s.Data = map[string][]byte{}
			for k, v := range s.StringData {
				switch v {
				case "CERTIFICATE", "KEY":
					s.Data[k] = pair(t)[v]
				default:
					s.Data[k] = []byte(v)
				}
			}
		case "EndpointSlice":
			s := &discoveryv1.EndpointSlice{}
			into(text, s)
			of := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
			w.slices[of] = append(w.slices[of], s)
		default:
			t.Fatalf("%s: a document of kind %q", d.Pos, meta.Kind)
		}
	}
	return w
}

// pair is a certificate with its key, made once.
func pair(t *testing.T) map[string][]byte {
	t.Helper()
	made, err := makePair()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

var makePair = sync.OnceValues(func() (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"CERTIFICATE": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), "KEY": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
})

func describe(r *routes.Route) string {
	if r == nil {
		return "nowhere"
	}
	at := r.Backend.Problem
	if at == "" {
		at = fmt.Sprint(r.Backend.Endpoints)
	}
	path := r.Path
	if r.Kind == routes.Default {
		path = "-"
	}
	out := fmt.Sprintf("%s %s %s → %s %s", r.Owner, r.Kind, path, r.Backend.Key, at)
	for _, c := range r.Canaries {
		out += fmt.Sprintf("; canary %s %v: header %q %q cookie %q weight %d of %d", c.Backend.Key, c.Backend.Endpoints, c.Header, c.Value, c.Cookie, c.Weight, c.Total)
	}
	return out
}

// The files under testdata show where requests go in each cluster, and what their owners are told.
func TestIngressesBecomeRoutes(t *testing.T) {
	datadriven.Walk(t, "testdata/build", func(t *testing.T, path string) {
		var table *routes.Table
		var complaints []translate.Complaint
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "build":
				table, complaints = translate.Build(read(t, d).Cluster)
				for _, c := range complaints {
					fmt.Fprintf(&out, "%s/%s %s: %s\n", c.Ingress.Namespace, c.Ingress.Name, c.Reason, c.Message)
				}
				if len(complaints) == 0 {
					out.WriteString("no complaint\n")
				}
			case "find":
				for line := range strings.Lines(d.Input) {
					host, path, _ := strings.Cut(strings.TrimSpace(line), "/")
					fmt.Fprintf(&out, "%s: %s\n", strings.TrimSpace(line), describe(table.Find(host, "/"+path)))
				}
			case "certificate":
				for host := range strings.FieldsSeq(d.Input) {
					c := table.Certificate(host)
					switch {
					case c == nil:
						fmt.Fprintf(&out, "%s: none\n", host)
					case c.TLS == nil:
						fmt.Fprintf(&out, "%s: %s, which has none to use\n", host, c.Secret)
					default:
						fmt.Fprintf(&out, "%s: %s\n", host, c.Secret)
					}
				}
			case "challenge":
				for line := range strings.Lines(d.Input) {
					host, path, _ := strings.Cut(strings.TrimSpace(line), "/")
					fmt.Fprintf(&out, "%s: %q\n", strings.TrimSpace(line), table.Challenge(host, "/"+path))
				}
			case "policy":
				for line := range strings.Lines(d.Input) {
					host, path, _ := strings.Cut(strings.TrimSpace(line), "/")
					r := table.Find(host, "/"+path)
					if r == nil {
						t.Fatalf("%s: no route of %s", d.Pos, line)
					}
					text, err := yaml.Marshal(r.Policy)
					if err != nil {
						t.Fatal(err)
					}
					for l := range strings.Lines(string(text)) {
						if k, v, _ := strings.Cut(strings.TrimSpace(l), ":"); strings.TrimSpace(v) != `""` && strings.TrimSpace(v) != "null" && strings.TrimSpace(v) != "0" && strings.TrimSpace(v) != "false" && k != "" {
							out.WriteString(l)
						}
					}
				}
			default:
				t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			}
			return out.String()
		})
	})
}

func FuzzAnyIngressHasATable(f *testing.F) {
	f.Add("a.example", "/x", "ImplementationSpecific", "use-regex", "true", "a.example", "/x/y", "web", "http")
	f.Add("*.example", "/x(", "Prefix", "rewrite-target", "/$1", "a.example", "/x/../y", "", "")
	f.Add("", "", "Exact", "canary", "true", "[::1]:80", "//", "web", "80")
	f.Add("*", "/", "Prefix", "whitelist-source-range", "10.0.0.0/8,", ".", "", "x", "")
	f.Add("A.example.", "/a/", "Prefix", "proxy-body-size", "9g", "a.example.:80", "/a", "x", "")
	f.Fuzz(func(t *testing.T, host, path, kind, annotation, value, askedHost, askedPath, service, port string) {
		w := newWorld()
		w.Classes = translate.Classes{{ObjectMeta: metav1.ObjectMeta{Name: "c", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
			Spec: networkingv1.IngressClassSpec{Controller: translate.Controller}}}
		pathType := networkingv1.PathType(kind)
		ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{translate.AnnotationPrefix + annotation: value}}}
		to := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Name: port}}}
		ing.Spec = networkingv1.IngressSpec{DefaultBackend: &to, TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: service}}, Rules: []networkingv1.IngressRule{{
			Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &pathType, Backend: to}}}}}}}
		w.Ingresses = []*networkingv1.Ingress{ing}
		table, _ := translate.Build(w.Cluster)
		table.Certificate(askedHost)
		r := table.Find(askedHost, askedPath)
		if r == nil {
			return
		}
		if r.Policy == nil || r.Backend == nil {
			t.Errorf("a route without a policy or backend: %+v", r)
		}
		if clean := routes.Clean(askedPath); routes.Clean(clean) != clean {
			t.Errorf("%q is cleaned to %q, and that to %q", askedPath, clean, routes.Clean(clean))
		}
	})
}
