package e2e

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/test/databases"
)

// One round of what `bench databases` does twenty times, on a cluster of its own.
func TestDatabasesKeepWhatTheyAcknowledgedWhateverDies(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	err := databases.Run(ctx, databases.Options{
		Dir: t.TempDir(), Bin: bin, Cache: filepath.Join("..", "..", ".cache", "databases"), Rounds: 1, Out: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
}
