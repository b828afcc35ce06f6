package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/backup"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/pv"
)

// etcdDir is where etcd is in a data directory.
func etcdDir(dataDir string) string { return filepath.Join(dataDir, "etcd") }

// settling is how long nodes have to say which volumes are on their disks, after the control plane has lost its state: one that runs says so within seconds.
const settling = time.Minute

// noteLoss notes that a control plane which has worked before has no state any more. Without keys it has never worked.
func noteLoss(dataDir string) error {
	if dir, is := backup.CutShort(dataDir); is {
		return fmt.Errorf("a restore into %s was cut short: run gitopsd restore again, or remove %s to begin without a state", dataDir, dir)
	}
	if _, err := os.Stat(filepath.Join(dataDir, "pki")); errors.Is(err, fs.ErrNotExist) || etcd.Begun(etcdDir(dataDir)) {
		return nil
	} else if err != nil {
		return err
	}
	slog.Warn("the control plane has keys and no state: it is built anew from the Git repository and from what nodes have", "missing", etcdDir(dataDir))
	if err := os.MkdirAll(etcdDir(dataDir), 0o700); err != nil {
		return err
	}
	return etcd.Unsettle(etcdDir(dataDir))
}

// afterLoss deals with a state that was lost or restored from a backup, before any controller starts. It may not know volumes that nodes have, and no empty ones are to be made in
// their place. So what room nodes have is forgotten: a node that is not said to have any offers first what is on its disk. And until the time that is returned, none are made at all.
func afterLoss(ctx context.Context, api *server.Server, client kubernetes.Interface, dir string) (settled time.Time, err error) {
	if !etcd.Unsettled(dir) {
		return time.Time{}, nil
	}
	select {
	case <-api.Ready():
	case <-ctx.Done():
		return time.Time{}, failure(ctx)
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return time.Time{}, fmt.Errorf("after the loss of the cluster's state: %w", err)
	}
	body := []byte(fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, pv.AnnRoom))
	for i := range nodes.Items {
		if _, err := client.CoreV1().Nodes().Patch(ctx, nodes.Items[i].Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "gitopsd-restore"}); err != nil {
			return time.Time{}, fmt.Errorf("after the loss of the cluster's state: forgetting what volumes node %s has room for: %w", nodes.Items[i].Name, err)
		}
	}
	// Only then: a control plane that is killed before begins again.
	time.AfterFunc(settling, func() {
		if err := etcd.Settled(dir); err != nil {
			slog.Warn("the next start of the control plane will wait for nodes' volumes again", "err", err)
		}
	})
	slog.Info("nodes say anew what volumes they have; before none are made", "for", settling)
	return time.Now().Add(settling), nil
}
