package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/lib/pq"
)

// dial reaches a database's port from outside of the cluster.
type dial func(ctx context.Context) (net.Conn, error)

// database is one that numbers are written to.
type database interface {
	// open connects, and makes what numbers are kept in unless it is there.
	open(ctx context.Context) (conn, error)
}

// conn is a connection. After an error it is closed and not used again.
type conn interface {
	add(ctx context.Context, n int) error
	all(ctx context.Context) (map[int]bool, error)
	Close() error
}

const (
	// callTime bounds a call to a database, which may be cut off at any time.
	callTime = 3 * time.Second
	// pause is between two writes: a round is to be of many of them, not of all that a disk can take.
	pause = 2 * time.Millisecond
	// between is between two attempts to connect.
	between = 50 * time.Millisecond
)

// writer writes numbers to a database and remembers those that it acknowledged.
type writer struct {
	name string
	db   database
	log  *os.File // every acknowledged number, one a line: what is checked can be checked again by hand

	written atomic.Int64 // acknowledged so far
	mu      sync.Mutex
	acked   []int
	failed  error // the last failure
}

func newWriter(name, dir string, db database) (*writer, error) {
	log, err := os.Create(filepath.Join(dir, name+".acknowledged"))
	if err != nil {
		return nil, err
	}
	return &writer{name: name, db: db, log: log}, nil
}

// run writes until ctx ends. A number is written once: what became of one that was not acknowledged is nobody's business.
func (w *writer) run(ctx context.Context) error {
	defer w.log.Close()
	for n := 0; ctx.Err() == nil; {
		c, err := w.db.open(ctx)
		for ; err == nil && ctx.Err() == nil; n++ {
			if err = w.add(ctx, c, n); err == nil {
				if _, err := fmt.Fprintln(w.log, n); err != nil {
					return err
				}
				w.mu.Lock()
				w.acked = append(w.acked, n)
				w.mu.Unlock()
				w.written.Add(1)
				time.Sleep(pause)
			}
		}
		if c != nil {
			c.Close()
		}
		w.mu.Lock()
		w.failed = err
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(between):
		}
	}
	return nil
}

func (w *writer) add(ctx context.Context, c conn, n int) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return c.add(ctx, n)
}

// works waits until the database has acknowledged something anew.
func (w *writer) works(ctx context.Context) error {
	for from := w.written.Load(); w.written.Load() == from; {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			defer w.mu.Unlock()
			return fmt.Errorf("%s takes no writes: %w: the last failure: %w", w.name, context.Cause(ctx), w.failed)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// check compares what was acknowledged by now with what is there. A database that does not answer is asked again.
func (w *writer) check(ctx context.Context) (int, error) {
	w.mu.Lock()
	want := w.acked[:len(w.acked):len(w.acked)]
	w.mu.Unlock()
	have, err := w.read(ctx)
	for ; err != nil; have, err = w.read(ctx) {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s cannot be read: %w", w.name, err)
		case <-time.After(between):
		}
	}
	var lost []int
	for _, n := range want {
		if !have[n] {
			lost = append(lost, n)
		}
	}
	if len(lost) > 0 {
		return 0, fmt.Errorf("%s has LOST %d of %d acknowledged writes, from %d to %d", w.name, len(lost), len(want), lost[0], lost[len(lost)-1])
	}
	return len(want), nil
}

func (w *writer) read(ctx context.Context) (map[int]bool, error) {
	c, err := w.db.open(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.all(ctx)
}

// postgres is one by its own protocol.
type postgres struct{ dial dial }

func (p postgres) Dial(string, string) (net.Conn, error) {
	return p.DialTimeout("", "", callTime)
}

func (p postgres) DialTimeout(_, _ string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	return impatient{c}, nil
}

// impatient is a connection that no read waits at for longer than for a call. The driver gives up a call by asking the server for it over another connection, and where
// that is gone it would wait for the answer of a server that is gone too.
type impatient struct{ net.Conn }

func (c impatient) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(callTime)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (p postgres) open(ctx context.Context) (conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	// The address is the dialer's business.
	connector, err := pq.NewConnector("host=postgres user=postgres dbname=postgres sslmode=disable connect_timeout=3")
	if err != nil {
		return nil, err
	}
	connector.Dialer(p)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS acknowledged (n bigint PRIMARY KEY)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return postgresConn{db}, nil
}

type postgresConn struct{ *sql.DB }

func (c postgresConn) add(ctx context.Context, n int) error {
	_, err := c.ExecContext(ctx, "INSERT INTO acknowledged VALUES ($1)", n)
	return err
}

func (c postgresConn) all(ctx context.Context) (map[int]bool, error) {
	rows, err := c.QueryContext(ctx, "SELECT n FROM acknowledged")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[int]bool{}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out[n] = true
	}
	return out, rows.Err()
}

// keyValue is a Redis.
type keyValue struct{ dial dial }

const set = "acknowledged"

func (k keyValue) open(ctx context.Context) (conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c, err := redis.DialContext(ctx, "tcp", "redis", redis.DialContextFunc(func(ctx context.Context, _, _ string) (net.Conn, error) { return k.dial(ctx) }))
	if err != nil {
		return nil, err
	}
	return keyValueConn{c}, nil
}

type keyValueConn struct{ redis.Conn }

func (c keyValueConn) add(ctx context.Context, n int) error {
	_, err := redis.DoContext(c.Conn, ctx, "SADD", set, n)
	return err
}

func (c keyValueConn) all(ctx context.Context) (map[int]bool, error) {
	list, err := redis.Ints(redis.DoContext(c.Conn, ctx, "SMEMBERS", set))
	out := make(map[int]bool, len(list))
	for _, n := range list {
		out[n] = true
	}
	return out, err
}
