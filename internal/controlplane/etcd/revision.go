package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// Clients follow the API from the last revision that they were told. Were a member that begins anew to count from 1, or a restored one from where the backup was, they would wait
// for revisions of long ago to be passed, and hear of nothing until then. So a member begins with the time, in microseconds: no member writes a million times a second, so whatever
// one counts comes after all that an earlier one has given out.
func firstRevision() int64 { return time.Now().UnixMicro() }

// minBump is how many revisions a restored member leaves out where the clock was put back: more than were written since the snapshot.
const minBump = 1_000_000_000

// bump is how many revisions a member leaves out that is restored from a snapshot of revision had, when the clock says first. By a clock that is ahead of the snapshot, as any that
// was not put back, no more than up to it: a member that begins anew soon after counts from there, and would be behind one that had left out more.
func bump(had, first int64) int64 {
	if first > had {
		return first - had
	}
	return minBump
}

// Begun says whether a member has ever worked in a directory: it has a log.
func Begun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "wal"))
	return err == nil
}

// begin makes the database of a member that begins anew, with one revision that is compacted already. Nothing is done for one that has begun.
func begin(dir string) error {
	if Begun(dir) {
		return nil
	}
	snap := filepath.Join(dir, "member", "snap")
	db := filepath.Join(snap, "db")
	if err := errors.Join(durable.Remove(db), os.MkdirAll(snap, 0o700)); err != nil { // of a start that was cut short
		return fmt.Errorf("etcd data directory: %w", err)
	}
	be := backend.NewDefaultBackend(quiet(), db)
	tx := be.BatchTx()
	tx.LockOutsideApply()
	for _, b := range []backend.Bucket{schema.Key, schema.Meta} {
		tx.UnsafeCreateBucket(b)
	}
	first := mvcc.Revision{Main: firstRevision()}
	tx.UnsafePut(schema.Key, mvcc.RevToBytes(first, mvcc.NewRevBytes()), nil)
	mvcc.UnsafeSetScheduledCompact(tx, first.Main)
	tx.Unlock()
	be.ForceCommit()
	return be.Close()
}
