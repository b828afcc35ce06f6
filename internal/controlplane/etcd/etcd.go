package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// quotaBytes is the size at which the member refuses writes; etcd's own documentation suggests at most 8 GiB.
	quotaBytes = 8 << 30
	// A single member elects itself, so that only its own scheduling jitter has to fit in the election timeout: short ticks make the start fast.
	tickMs     = 10
	electionMs = 100
	// maxRequestBytes leaves room for the largest object that the API server accepts (3 MiB) plus its key.
	maxRequestBytes = 4 << 20
	// snapshotCount is the number of writes after which the log is cut.
	snapshotCount = 2000
	// clientSocket and peerSocket are in the data directory; clusterToken is etcd's own default.
	clientSocket, peerSocket, clusterToken = "client.sock", "peer.sock", "etcd-cluster"
	// maxSocketPath is the room in sockaddr_un, without the final NUL (unix(7)).
	maxSocketPath = 107
)

// Member is a running etcd member.
type Member struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	log    *slogCore
}

// Start runs a single-member etcd in dir, which is created when missing, and returns when it serves.
//
// Another process on the same directory is an error that names the directory. The member runs until Close.
func Start(ctx context.Context, dir string) (*Member, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd data directory: %w", err)
	}
	client, peer := filepath.Join(dir, clientSocket), filepath.Join(dir, peerSocket)
	if len(client) > maxSocketPath {
		return nil, fmt.Errorf("etcd data directory %s: the path of a unix socket in it would be longer than %d bytes; choose a shorter --data-dir", dir, maxSocketPath)
	}
	// etcd waits forever for the lock of its database when another process holds it; the control plane holds its own lock before it comes here.
	cfg := embed.NewConfig()
	cfg.Name, cfg.InitialClusterToken = memberName, clusterToken
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: client}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	// A peer listener takes its address from the URL's host alone: with an empty one it would bind an abstract socket that any local user can reach.
	cfg.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: peer}}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: "peer"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.QuotaBackendBytes = quotaBytes
	cfg.MaxRequestBytes = maxRequestBytes
	// The API server compacts by its own clock; etcd's automatic compaction would take revisions from under its watchers.
	cfg.AutoCompactionRetention = "0"
	// What raft keeps of the log in memory is for members that lag behind, and there are none: each entry is an object.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = snapshotCount, 100
	logs := &slogCore{quiet: new(atomic.Bool)}
	if err := begin(dir); err != nil {
		return nil, err
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(logs))

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	case <-e.Server.StopNotify():
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: it stopped before it was ready", dir)
	case <-ctx.Done():
		e.Close()
		return nil, context.Cause(ctx)
	}
	local := v3client.New(e.Server)
	told := new(atomic.Int64)
	local.KV, local.Watcher = localKV{local.KV, told}, localWatcher{local.Watcher, told, e.Server.KV().Rev}
	return &Member{etcd: e, client: local, log: logs}, nil
}

// Client returns a client that calls the member in process. It is shared; Close of the Member ends it.
func (m *Member) Client() *clientv3.Client { return m.client }

// Done is closed when the member stopped, by Close or because of an error.
func (m *Member) Done() <-chan struct{} { return m.etcd.Server.StopNotify() }

// Close stops the member; what was acknowledged is on disk.
func (m *Member) Close() {
	// etcd reports every listener that is closed here as an error.
	m.log.quiet.Store(true)
	if err := m.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		slog.Warn("close etcd client", "err", err)
	}
	m.etcd.Close()
}

// slogCore sends etcd's log lines of level warning and above to slog; below that etcd narrates its own life.
type slogCore struct {
	fields []any
	quiet  *atomic.Bool
}

// expected are the warnings of every start of a healthy single member.
var expected = []string{
	"Failed to detect schema version", "Failed to detect storage schema version", "failed to update storage version", "Running http and grpc server on single port",
	"simple token is not cryptographically signed",
}

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel && !c.quiet.Load() }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{quiet: c.quiet, fields: append(c.fields[:len(c.fields):len(c.fields)], attrs(fields)...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	for _, m := range expected {
		if strings.HasPrefix(e.Message, m) {
			level = slog.LevelDebug
		}
	}
	slog.Log(context.Background(), level, "etcd: "+strings.TrimSpace(e.Message), append(c.fields[:len(c.fields):len(c.fields)], attrs(fields)...)...)
	return nil
}

func (*slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, f.Key, v)
		}
	}
	return out
}
