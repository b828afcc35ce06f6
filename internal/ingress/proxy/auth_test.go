package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

func TestTryingPasswordsIsBounded(t *testing.T) {
	long := strings.Repeat("x", maxPassword+1)
	a := &routes.Auth{Users: map[string]string{"ann": apr1("test", "salt"), "bob": apr1(long, "salt"), "eve": apr1(long[1:], "salt")}}
	c := newAuthCache()
	ask := func(name, password string) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(name, password)
		return c.admit(r, a)
	}
	expect := func(name, password string, want int) {
		t.Helper()
		if got := ask(name, password); got != want {
			t.Errorf("%s with %d bytes: %d, want %d", name, len(password), got, want)
		}
	}
	expect("ann", "test", 0)
	expect("bob", long, http.StatusUnauthorized)
	expect("eve", long[1:], 0)
	for range cap(c.trying) {
		c.trying <- struct{}{}
	}
	expect("ann", "test", 0) // known to be right: nothing is tried
	expect("ann", "wrong", http.StatusServiceUnavailable)
	<-c.trying
	expect("ann", "wrong", http.StatusUnauthorized)
}
