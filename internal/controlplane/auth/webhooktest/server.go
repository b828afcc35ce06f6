package webhooktest

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Server answers reviews of type R.
type Server[R any] struct {
	// Kubeconfig is the file by which the server is reached.
	Kubeconfig string

	mu     sync.Mutex
	asked  []R
	answer func(w http.ResponseWriter, r *http.Request, review *R)
}

// New serves until the test ends. The review comes as it was sent; what answer leaves of it is sent back.
func New[R any](t testing.TB, answer func(review *R)) *Server[R] {
	t.Helper()
	s := &Server[R]{}
	s.Answer(answer)
	server := httptest.NewTLSServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections() // some may be waiting for an answer that does not come
		server.Close()
	})
	config := clientcmdapi.NewConfig()
	config.Clusters["webhook"] = &clientcmdapi.Cluster{
		Server: server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	config.AuthInfos["api-server"] = &clientcmdapi.AuthInfo{}
	config.Contexts["webhook"] = &clientcmdapi.Context{Cluster: "webhook", AuthInfo: "api-server"}
	config.CurrentContext = "webhook"
	s.Kubeconfig = filepath.Join(t.TempDir(), "webhook.kubeconfig")
	if err := clientcmd.WriteToFile(*config, s.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	return s
}

// Answer changes how reviews are answered.
func (s *Server[R]) Answer(answer func(review *R)) {
	s.set(func(w http.ResponseWriter, _ *http.Request, review *R) {
		answer(review)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // the client has gone, nobody is left to be told
	})
}

// Fail has every review answered by an error.
func (s *Server[R]) Fail(code int) {
	s.set(func(w http.ResponseWriter, _ *http.Request, _ *R) { w.WriteHeader(code) })
}

// Hang has no review answered for as long as the client waits.
func (s *Server[R]) Hang() {
	s.set(func(_ http.ResponseWriter, r *http.Request, _ *R) { <-r.Context().Done() })
}

func (s *Server[R]) set(answer func(http.ResponseWriter, *http.Request, *R)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Asked is every review that came, as it came.
func (s *Server[R]) Asked() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]R(nil), s.asked...)
}

func (s *Server[R]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review R
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, review)
	answer := s.answer
	s.mu.Unlock()
	answer(w, r, &review)
}
