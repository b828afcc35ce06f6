package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"github.com/gitopsd/gitopsd/internal/durable"
)

const (
	memberName = "gitopsd"
	peerURL    = "unix://peer"
	// unsettledFile is in the data directory of a member that is not settled.
	unsettledFile = "unsettled"
	// dialTimeout bounds the wait for a member that does not answer at its socket.
	dialTimeout = 10 * time.Second
)

// Status is what a snapshot holds.
type Status struct {
	Revision int64
	Bytes    int64
}

// Save writes a snapshot of the member that runs in dir, in this process or another, to a file, and reads it again as a whole. What the member had acknowledged before is in it.
func Save(ctx context.Context, dir, file string) (Status, error) {
	m := snapshot.NewV3(quiet())
	_, err := m.Save(ctx, clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(dir, clientSocket)}, DialTimeout: dialTimeout}, file)
	if err != nil {
		return Status{}, fmt.Errorf("taking a snapshot of etcd in %s: %w", dir, err)
	}
	s, err := m.Status(file)
	if err != nil {
		return Status{}, fmt.Errorf("the snapshot of etcd in %s is not sound: %w", dir, err)
	}
	return Status{Revision: s.Revision, Bytes: s.TotalSize}, nil
}

// Restore makes dir, which must not be there, the data directory of a member with what is in a snapshot. All revisions are later than any that the snapshot's member can have
// given out. It is unsettled.
func Restore(file, dir string) error {
	m := snapshot.NewV3(quiet())
	had, err := m.Status(file)
	if err != nil {
		return fmt.Errorf("the snapshot of etcd in %s is not sound: %w", file, err)
	}
	err = m.Restore(snapshot.RestoreConfig{
		SnapshotPath: file, OutputDataDir: dir, Name: memberName, PeerURLs: []string{peerURL}, InitialCluster: memberName + "=" + peerURL, InitialClusterToken: clusterToken,
		RevisionBump: uint64(bump(had.Revision, firstRevision())), MarkCompacted: true,
	})
	if err != nil {
		return fmt.Errorf("restoring etcd from %s: %w", file, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return Unsettle(dir)
}

// Unsettle notes that what a member has may be behind what the rest of the cluster knows, as that of one that begins anew or was restored.
func Unsettle(dir string) error { return durable.Replace(filepath.Join(dir, unsettledFile), nil) }

// Unsettled says whether that is so, and nobody has dealt with it yet.
func Unsettled(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, unsettledFile))
	return err == nil
}

// Settled ends it.
func Settled(dir string) error { return durable.Remove(filepath.Join(dir, unsettledFile)) }

// quiet sends etcd's warnings where its other messages go.
func quiet() *zap.Logger { return zap.New(&slogCore{quiet: new(atomic.Bool)}) }
