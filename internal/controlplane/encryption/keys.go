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

// known is what the file said when it was last read; nil for a resource that it does not name.
func (k *Keys) known(gr schema.GroupResource) value.Transformer {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.transformers[gr]
}

// current reads the file again when it has been replaced. One that cannot be read changes nothing: objects stay readable with the keys known.
func (k *Keys) current(gr schema.GroupResource) value.Transformer {
	if info, err := os.Stat(k.file); err == nil {
		k.mu.RLock()
		same := k.is(info)
		k.mu.RUnlock()
		if !same {
			k.reload(info)
		}
	}
	return orPlain(k.known(gr))
}

// is says whether the file is the one that was read.
func (k *Keys) is(info os.FileInfo) bool {
	return os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime())
}

func (k *Keys) reload(info os.FileInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.is(info) {
		return // somebody else was faster
	}
	if err := k.load(info); err != nil {
		slog.Error("the encryption keys were not read again; the old ones stay in use", "err", err)
		k.seen = info // told once
	}
}

// orPlain stores as they are the objects that no key is for, and refuses to take encrypted text for an object.
func orPlain(t value.Transformer) value.Transformer {
	if t == nil {
		return identity.NewEncryptCheckTransformer()
	}
	return t
}

// transformer asks for the keys at each use: what is written must have the newest, from the moment the file has it. What no key is for is read
// without a look at the file, since nearly everything is that.
type transformer struct {
	keys *Keys
	gr   schema.GroupResource
}

var _ value.Transformer = transformer{}

func (t transformer) TransformFromStorage(ctx context.Context, data []byte, at value.Context) ([]byte, bool, error) {
	if t.keys.known(t.gr) == nil {
		if object, stale, err := orPlain(nil).TransformFromStorage(ctx, data, at); err == nil {
			return object, stale, nil
		}
	}
	return t.keys.current(t.gr).TransformFromStorage(ctx, data, at)
}

func (t transformer) TransformToStorage(ctx context.Context, data []byte, at value.Context) ([]byte, error) {
	return t.keys.current(t.gr).TransformToStorage(ctx, data, at)
}
