package job

import (
	"slices"
	"strconv"
	"strings"
)

// indexes is a set of completion indexes as intervals in ascending order that neither overlap nor touch: a Job may have a hundred thousand.
type indexes []interval

// interval is first to last, both included.
type interval struct{ first, last int }

// parseIndexes reads the form of status.completedIndexes, "0,2-4", leaving out what is at or above limit: an elastic Job that has shrunk no
// longer has those indexes. What is no interval is left out too: only the API server's validation could tell the user about it.
func parseIndexes(s string, limit int) indexes {
	var out indexes
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last, err := strconv.Atoi(to)
		if err != nil || last < first || first < 0 || first >= limit {
			continue
		}
		out = append(out, interval{first, min(last, limit-1)})
	}
	return out.normal()
}

// indexesOf makes a set of single indexes.
func indexesOf(list ...int) indexes {
	out := make(indexes, len(list))
	for i, n := range list {
		out[i] = interval{n, n}
	}
	return out.normal()
}

// normal sorts and joins.
func (x indexes) normal() indexes {
	if len(x) < 2 {
		return x
	}
	slices.SortFunc(x, func(a, b interval) int { return a.first - b.first })
	out := x[:1]
	for _, i := range x[1:] {
		if end := &out[len(out)-1]; i.first <= end.last+1 {
			end.last = max(end.last, i.last)
		} else {
			out = append(out, i)
		}
	}
	return out
}

// union is everything in x or in y.
func (x indexes) union(y indexes) indexes {
	return append(slices.Clone(x), y...).normal()
}

// common counts what is in both.
func (x indexes) common(y indexes) (n int) {
	for i, j := 0, 0; i < len(x) && j < len(y); {
		n += max(0, min(x[i].last, y[j].last)-max(x[i].first, y[j].first)+1)
		if x[i].last < y[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

func (x indexes) has(index int) bool {
	_, ok := slices.BinarySearchFunc(x, index, func(i interval, index int) int {
		switch {
		case i.last < index:
			return -1
		case i.first > index:
			return 1
		}
		return 0
	})
	return ok
}

func (x indexes) count() (n int) {
	for _, i := range x {
		n += i.last - i.first + 1
	}
	return n
}

// missing calls f with each index below limit that is not in the set, in ascending order, until f says that it has enough.
func (x indexes) missing(limit int, f func(index int) (more bool)) {
	next := 0
	for _, i := range append(slices.Clone(x), interval{limit, limit}) {
		for ; next < min(i.first, limit); next++ {
			if !f(next) {
				return
			}
		}
		next = i.last + 1
	}
}

// String is the form that the status shows: two neighbours are listed, three or more are a range.
func (x indexes) String() string {
	var b strings.Builder
	for _, i := range x {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(i.first))
		switch {
		case i.last == i.first+1:
			b.WriteByte(',')
			b.WriteString(strconv.Itoa(i.last))
		case i.last > i.first:
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(i.last))
		}
	}
	return b.String()
}
