package reconcile

import "sync"

// lanes is the queue of a Loop: keys in the order in which they were asked for, but that those for which somebody waits go before the others. After so many of them one
// of the others has its turn, so that nobody waits for ever. The work queue calls its methods one at a time; expedite may be called at any time.
type lanes struct {
	first, rest fifo
	// moved counts the places in rest that were left for one in first.
	moved map[Key]int
	// inRest are the keys with a place in rest that counts.
	inRest map[Key]bool
	streak int

	mu     sync.Mutex
	urgent map[Key]bool
}

// longestStreak is how many go first before one of the others does.
const longestStreak = 100

func newLanes() *lanes {
	return &lanes{moved: map[Key]int{}, inRest: map[Key]bool{}, urgent: map[Key]bool{}}
}

// expedite has a key go first the next time that it is added.
func (l *lanes) expedite(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.urgent[key] = true
}

// expedited takes the wish.
func (l *lanes) expedited(key Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.urgent[key]
	delete(l.urgent, key)
	return was
}

// Push adds a key that has no place yet.
func (l *lanes) Push(key Key) {
	if l.expedited(key) {
		l.first.push(key)
		return
	}
	l.inRest[key] = true
	l.rest.push(key)
}

// Touch is told of a key that has a place and was added again.
func (l *lanes) Touch(key Key) {
	if l.expedited(key) && l.inRest[key] {
		delete(l.inRest, key)
		l.moved[key]++
		l.first.push(key)
	}
}

// Len is how many keys have a place.
func (l *lanes) Len() int { return len(l.first) + len(l.inRest) }

// Pop takes the next key.
func (l *lanes) Pop() Key {
	if len(l.first) > 0 && (l.streak < longestStreak || len(l.inRest) == 0) {
		l.streak++
		return l.first.pop()
	}
	l.streak = 0
	for {
		key := l.rest.pop()
		if l.moved[key] == 0 {
			delete(l.inRest, key)
			return key
		}
		if l.moved[key]--; l.moved[key] == 0 {
			delete(l.moved, key)
		}
	}
}

// fifo is a list of keys.
type fifo []Key

func (f *fifo) push(key Key) { *f = append(*f, key) }

func (f *fifo) pop() Key {
	key := (*f)[0]
	(*f)[0] = Key{} // for the collector
	*f = (*f)[1:]
	return key
}
