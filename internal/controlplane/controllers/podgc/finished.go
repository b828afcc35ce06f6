package podgc

import (
	"cmp"
	"container/heap"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// finished holds the finished Pods, the oldest at the top.
type finished struct {
	items []*corev1.Pod
	at    map[types.UID]int
}

var _ heap.Interface = (*finished)(nil)

func newFinished() *finished { return &finished{at: map[types.UID]int{}} }

func (f *finished) add(p *corev1.Pod) {
	if _, ok := f.at[p.UID]; !ok {
		heap.Push(f, p)
	}
}

func (f *finished) remove(uid types.UID) {
	if i, ok := f.at[uid]; ok {
		heap.Remove(f, i)
	}
}

// excess takes out the oldest beyond keep.
func (f *finished) excess(keep int) []*corev1.Pod {
	var out []*corev1.Pod
	for f.Len() > keep {
		out = append(out, heap.Pop(f).(*corev1.Pod))
	}
	return out
}

func (f *finished) Len() int { return len(f.items) }

func (f *finished) Less(i, j int) bool {
	a, b := f.items[i], f.items[j]
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID)) < 0
}

func (f *finished) Swap(i, j int) {
	f.items[i], f.items[j] = f.items[j], f.items[i]
	f.at[f.items[i].UID], f.at[f.items[j].UID] = i, j
}

// Push is heap's; use add.
func (f *finished) Push(x any) {
	p := x.(*corev1.Pod)
	f.at[p.UID] = len(f.items)
	f.items = append(f.items, p)
}

// Pop is heap's; use excess.
func (f *finished) Pop() any {
	last := len(f.items) - 1
	p := f.items[last]
	f.items[last] = nil
	f.items = f.items[:last]
	delete(f.at, p.UID)
	return p
}
