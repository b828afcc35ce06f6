package plugins

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Connect prepares a connection to the socket of a plugin. Nothing is sent yet; calls fail while nobody listens there.
func Connect(socket string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	// The authority is not the path: that is none that HTTP/2 servers accept.
	return grpc.NewClient("passthrough:///"+strings.TrimPrefix(socket, "unix://"), append(options, grpc.WithAuthority("localhost"))...)
}

// dial takes paths of sockets.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}
