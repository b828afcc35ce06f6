package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// ErrWrongCluster says that the server is not the one that the token was made for.
var ErrWrongCluster = errors.New("is not the cluster that the join token was made for")

// fetchCA asks the API server for its certificates and gives the CA among them whose key has the hash, having checked that the server's own
// certificate was signed by it for this address.
func fetchCA(ctx context.Context, server *url.URL, hash [sha256.Size]byte) (*x509.Certificate, error) {
	addr := server.Host
	if server.Port() == "" {
		addr = net.JoinHostPort(server.Hostname(), "443")
	}
	var ca *x509.Certificate
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		// The usual verification needs the CA that is being looked for; VerifyConnection takes its place.
		Config: &tls.Config{InsecureSkipVerify: true, ServerName: server.Hostname(), MinVersion: tls.VersionTLS12, VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if sha256.Sum256(c.RawSubjectPublicKeyInfo) == hash && c.IsCA {
					ca = c
				}
			}
			if ca == nil {
				return fmt.Errorf("the API server at %s %w: none of its certificates has the key that the token names; check --server and --token", server, ErrWrongCluster)
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca)
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: server.Hostname(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		}},
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ca, conn.Close()
}
