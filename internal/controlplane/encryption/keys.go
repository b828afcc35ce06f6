package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

// Keys is what the file says now.
type Keys struct {
	file string

	mu           sync.RWMutex
	seen         os.FileInfo
	transformers map[schema.GroupResource]value.Transformer
	// stop ends the helpers of the configuration in force, such as connections to a key server.
	stop context.CancelFunc
}

// Open reads the file. Close ends what it started.
func Open(file string) (*Keys, error) {
	k := &Keys{file: file, stop: func() {}}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("encryption keys: %w", err)
	}
	if err := k.load(info); err != nil {
		return nil, err
	}
	return k, nil
}

// Close ends the helpers of the configuration.
func (k *Keys) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop()
}

// Transformer is for the objects of one resource; those of resources that the file does not name are stored as they are.
func (k *Keys) Transformer(gr schema.GroupResource) value.Transformer { return transformer{k, gr} }

func (k *Keys) load(info os.FileInfo) error {
	ctx, cancel := context.WithCancel(context.Background())
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, k.file, false, "gitopsd")
	if err != nil {
		cancel()
		return fmt.Errorf("encryption keys in %s: %w", k.file, err)
	}
	k.stop()
	k.seen, k.transformers, k.stop = info, config.Transformers, cancel
	return nil
}

// current reads the file again when it has been replaced. One that cannot be read changes nothing: objects stay readable with the keys known.
func (k *Keys) current(gr schema.GroupResource) value.Transformer {
	info, err := os.Stat(k.file)
	k.mu.RLock()
	same := err != nil || os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime())
	t := k.transformers[gr]
	k.mu.RUnlock()
	if !same {
		t = k.reload(gr, info)
	}
	if t == nil {
		return identity.NewEncryptCheckTransformer()
	}
	return t
}

func (k *Keys) reload(gr schema.GroupResource, info os.FileInfo) value.Transformer {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !os.SameFile(info, k.seen) || !info.ModTime().Equal(k.seen.ModTime()) {
		if err := k.load(info); err != nil {
			slog.Error("the encryption keys were not read again; the old ones stay in use", "err", err)
			k.seen = info // told once
		}
	}
	return k.transformers[gr]
}

// transformer asks for the keys at each use.
type transformer struct {
	keys *Keys
	gr   schema.GroupResource
}

var _ value.Transformer = transformer{}

func (t transformer) TransformFromStorage(ctx context.Context, data []byte, at value.Context) ([]byte, bool, error) {
	return t.keys.current(t.gr).TransformFromStorage(ctx, data, at)
}

func (t transformer) TransformToStorage(ctx context.Context, data []byte, at value.Context) ([]byte, error) {
	return t.keys.current(t.gr).TransformToStorage(ctx, data, at)
}
