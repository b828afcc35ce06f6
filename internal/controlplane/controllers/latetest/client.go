package latetest

import (
	"math/rand/v2"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

// Answer is what an API server says to a call.
type Answer func(clienttesting.Action) (runtime.Object, error)

// Client sends every call to the answer of the day, one at a time. To make one takes longer than a whole run, so it serves all runs, one after the other.
type Client struct {
	kubernetes.Interface

	mu     sync.Mutex
	answer Answer
}

// NewClient makes a Client, which is to be told who answers before it is used.
func NewClient() *Client {
	c := &Client{}
	client := fake.NewClientset()
	client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		obj, err := c.answer(a)
		return true, obj, err
	})
	c.Interface = client
	return c
}

// AnsweredBy says who answers from now on.
func (c *Client) AnsweredBy(a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = a
}

// Alone does something while nobody is being answered: what a test reads and writes of the world while the controller runs.
func (c *Client) Alone(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

// Sometimes fails one call in eight: some of those are carried out all the same, and only the answer is lost.
func Sometimes(r *rand.Rand, carryOut Answer) Answer {
	return func(a clienttesting.Action) (runtime.Object, error) {
		if r.IntN(8) > 0 {
			return carryOut(a)
		}
		switch r.IntN(3) {
		case 0:
			return nil, apierrors.NewTooManyRequests("try later", 1)
		case 1:
			if _, err := carryOut(a); err != nil {
				return nil, err
			}
		}
		return nil, apierrors.NewTimeoutError("the answer was lost", 1)
	}
}

// Indexer is a cache that says how far it has come.
type Indexer struct {
	cache.Indexer

	Version string // resourceVersion
}

// LastStoreSyncResourceVersion is what an informer's own cache answers too.
func (i *Indexer) LastStoreSyncResourceVersion() string { return i.Version }
