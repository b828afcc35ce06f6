package logs

import (
	"bufio"
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Stop ends the collector of a directory, if there is one; it is for taking a node off its host.
func Stop(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for lockHeld(dir) {
		if conn, err := dial(ctx, dir); err == nil {
			ask(conn, bufio.NewReader(conn), "hello (none)") // it says that it ends
			conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log collector of %s did not end; kill it (`fuser %s` shows it)", dir, filepath.Join(dir, lockName))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
