package proxy

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// authCache remembers passwords that were right, since making sure takes long by design. It holds no password, only hashes with what they were
// right for.
type authCache struct {
	mu    sync.Mutex
	right map[[32]byte]bool
	// trying has a place for each password that is being tried: whoever guesses is not to keep the node from everything else.
	trying chan struct{}
}

func newAuthCache() *authCache {
	return &authCache{trying: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/4))}
}

const (
	// maxPassword bounds what trying one takes.
	maxPassword = 256
	// tryWait is how long a request waits for its turn.
	tryWait = 2 * time.Second
)

// maxRight bounds it; what is more begins anew.
const maxRight = 4096

// admit returns 0 for a request that may come in, and otherwise the status that it is answered with.
func (c *authCache) admit(r *http.Request, a *routes.Auth) int {
	name, password, ok := r.BasicAuth()
	if !ok || len(password) > maxPassword {
		return http.StatusUnauthorized
	}
	hash, known := a.Users[name]
	if !known || hash == "" {
		return http.StatusUnauthorized
	}
	key := sha256.Sum256([]byte(name + "\x00" + hash + "\x00" + password))
	c.mu.Lock()
	was := c.right[key]
	c.mu.Unlock()
	if was {
		return 0
	}
	turn, cancel := context.WithTimeout(r.Context(), tryWait)
	defer cancel()
	select {
	case c.trying <- struct{}{}:
	case <-turn.Done():
		return http.StatusServiceUnavailable
	}
	right := matches(password, hash)
	<-c.trying
	if !right {
		return http.StatusUnauthorized
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.right == nil || len(c.right) >= maxRight {
		c.right = map[[32]byte]bool{}
	}
	c.right[key] = true
	return 0
}

// matches compares a password with a hash as htpasswd writes it: bcrypt, apr1 or SHA-1.
func matches(password, hash string) bool {
	equal := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	switch {
	case strings.HasPrefix(hash, "$2"):
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	case strings.HasPrefix(hash, "$apr1$"):
		salt, _, _ := strings.Cut(hash[len("$apr1$"):], "$")
		return equal(apr1(password, salt), hash)
	case strings.HasPrefix(hash, "{SHA}"):
		sum := sha1.Sum([]byte(password))
		return equal("{SHA}"+base64.StdEncoding.EncodeToString(sum[:]), hash)
	}
	return false
}

// apr1 is Apache's variant of crypt with MD5, htpasswd's default: a thousand rounds over password and salt in changing order.
func apr1(password, salt string) string {
	const magic = "$apr1$"
	salt = salt[:min(len(salt), 8)]
	sum := func(parts ...string) [md5.Size]byte { return md5.Sum([]byte(strings.Join(parts, ""))) }
	inner := sum(password, salt, password)
	text := password + magic + salt
	for left := len(password); left > 0; left -= md5.Size {
		text += string(inner[:min(left, md5.Size)])
	}
	for bits := len(password); bits > 0; bits >>= 1 {
		if bits&1 == 1 {
			text += "\x00"
		} else if password != "" {
			text += password[:1]
		}
	}
	out := sum(text)
	for i := range 1000 {
		var parts []string
		last := string(out[:])
		if i&1 == 1 {
			parts = append(parts, password)
		} else {
			parts = append(parts, last)
		}
		if i%3 != 0 {
			parts = append(parts, salt)
		}
		if i%7 != 0 {
			parts = append(parts, password)
		}
		if i&1 == 1 {
			parts = append(parts, last)
		} else {
			parts = append(parts, password)
		}
		out = sum(parts...)
	}
	const digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	b.WriteString(magic + salt + "$")
	write := func(v uint, n int) {
		for range n {
			b.WriteByte(digits[v&0x3f])
			v >>= 6
		}
	}
	for i := range 5 {
		third := i + 12
		if i == 4 {
			third = 5
		}
		write(uint(out[i])<<16|uint(out[i+6])<<8|uint(out[third]), 4)
	}
	write(uint(out[11]), 2)
	return b.String()
}
