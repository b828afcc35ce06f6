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
	// Peers are the Pods that policies could name. Without policies nobody needs them.
	Peers map[string]rules.Pod `json:"peers,omitempty"`
}

// keepPeriod is the least time between two writes of what is known: peers come and go all the time in a large cluster.
const keepPeriod = 10 * time.Second

func keptFile(dir string) string { return filepath.Join(dir, "policies.json") }

// ownFile has the node's own Pods by UID, guarded or not. It is written before a Pod is admitted: who is deleted at the API while no process runs here has nobody
// else who knows its labels, by which policies are told that come meanwhile.
func ownFile(dir string) string { return filepath.Join(dir, "own.json") }

// load reads what an earlier process knew; nil when there was none.
func (e *Enforcer) load() *kept {
	k := &kept{}
	if there, err := read(keptFile(e.cfg.Dir), k); err != nil {
		e.log.Warn("the policies of before cannot be read; Pods wait for the API's", "err", err)
		return nil
	} else if !there {
		return nil
	}
	return k
}

// loadOwn reads which Pods an earlier process knew to be here.
func (e *Enforcer) loadOwn() {
	own := map[string]rules.Pod{}
	if _, err := read(ownFile(e.cfg.Dir), &own); err != nil {
		e.log.Warn("Pods of before that the API has forgotten would be held for Pods without labels", "err", err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for uid, pod := range own {
		e.members.Put("own/"+uid, &pod)
		e.own[uid] = pod
	}
}

func read(file string, into any) (there bool, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	return true, nil
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
		k.Namespaces, k.Peers = e.members.Known()
		for uid := range e.own {
			delete(k.Peers, "own/"+uid)
		}
		e.mu.Unlock()
	}
	data, err := json.Marshal(k)
	if err != nil {
		return 0, fmt.Errorf("write what is known of policies: %w", err)
	}
	if string(data) == e.written {
		return 0, nil
	}
	if err := replace(keptFile(e.cfg.Dir), data); err != nil {
		return 0, err
	}
	e.written, e.writtenAt = string(data), time.Now()
	return 0, nil
}

// keepOwn writes which Pods are here. They are few.
func (e *Enforcer) keepOwn(own map[string]rules.Pod) error {
	data, err := json.Marshal(own)
	if err != nil {
		return fmt.Errorf("write which Pods are here: %w", err)
	}
	return replace(ownFile(e.cfg.Dir), data)
}

// replace puts a file in place as a whole. It does not wait for the disk: what is kept has to survive the process, not the machine, with which all Pods end.
func replace(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make the folder of what is known of policies: %w", err)
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return fmt.Errorf("write what is known of policies: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write what is known of policies: %w", err)
	}
	return nil
}
