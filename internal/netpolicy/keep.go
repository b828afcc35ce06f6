package netpolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// kept is what was known last, for a node that starts while the API is away: it goes on from there.
type kept struct {
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Namespaces map[string]labels.Set         `json:"namespaces,omitempty"`
	// Peers are the Pods that policies could name, and Own those of the node by UID. Without policies nobody needs them.
	Peers map[string]rules.Pod `json:"peers,omitempty"`
	Own   map[string]rules.Pod `json:"own,omitempty"`
}

// keepPeriod is the least time between two writes of what is known: peers come and go all the time in a large cluster.
const keepPeriod = 10 * time.Second

func keptFile(dir string) string { return filepath.Join(dir, "policies.json") }

// load reads what an earlier process knew; nil when there was none.
func (e *Enforcer) load() *kept {
	data, err := os.ReadFile(keptFile(e.cfg.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	k := &kept{}
	if err == nil {
		err = json.Unmarshal(data, k)
	}
	if err != nil {
		e.log.Warn("the policies of before cannot be read; Pods wait for the API's", "file", keptFile(e.cfg.Dir), "err", err)
		return nil
	}
	return k
}

// takeUp goes on from what an earlier process knew, until all of it is known anew.
func (e *Enforcer) takeUp(k *kept) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before = k
	for name, set := range k.Namespaces {
		if set == nil {
			set = labels.Set{}
		}
		e.members.PutNamespace(name, set)
	}
	for key, pod := range k.Peers {
		e.members.Put(key, &pod)
	}
	for uid, pod := range k.Own {
		e.members.Put("own/"+uid, &pod)
		e.own[uid] = pod
	}
}

// startAnew forgets what an earlier process knew, but for the labels of own Pods of which nobody else knows any more.
func (e *Enforcer) startAnew() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before = nil
	e.members = rules.NewMembers()
	for uid, pod := range e.own {
		e.members.Put("own/"+uid, &pod)
	}
	e.unresolved = true
}

// keep writes what is known, unless that was done a moment ago. It returns when to try again; 0 is not before the next change.
func (e *Enforcer) keep(policies []*networkingv1.NetworkPolicy, guarded bool) (time.Duration, error) {
	if wait := keepPeriod - time.Since(e.writtenAt); wait > 0 {
		return wait, nil
	}
	k := kept{Policies: policies}
	if guarded {
		e.mu.Lock()
		k.Own = e.own
		k.Namespaces, k.Peers = e.members.Known()
		e.mu.Unlock()
		for uid := range k.Own {
			delete(k.Peers, "own/"+uid)
		}
	}
	data, err := json.Marshal(k)
	if err != nil {
		return 0, fmt.Errorf("write what is known of policies: %w", err)
	}
	if string(data) == e.written {
		return 0, nil
	}
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the folder of what is known of policies: %w", err)
	}
	next := keptFile(e.cfg.Dir) + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return 0, fmt.Errorf("write what is known of policies: %w", err)
	}
	if err := os.Rename(next, keptFile(e.cfg.Dir)); err != nil {
		return 0, fmt.Errorf("write what is known of policies: %w", err)
	}
	e.written, e.writtenAt = string(data), time.Now()
	return 0, nil
}
