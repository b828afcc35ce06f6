package probe

// Counter turns single results into a judgement: failureThreshold failures in a row make it false, successThreshold successes in a row make it true.
type Counter struct {
	Success, Failure int // thresholds; at least 1
	OK               bool

	row int
	was bool
}

// Add takes one result and says whether the judgement changed.
func (c *Counter) Add(ok bool) (changed bool) {
	if c.row == 0 || ok != c.was {
		c.row, c.was = 0, ok
	}
	c.row++
	before := c.OK
	if ok && c.row >= max(c.Success, 1) {
		c.OK = true
	}
	if !ok && c.row >= max(c.Failure, 1) {
		c.OK = false
	}
	return c.OK != before
}

// Exhausted says whether the last results were failures enough to act upon, also where the judgement was false before.
func (c *Counter) Exhausted() bool { return c.row > 0 && !c.was && c.row >= max(c.Failure, 1) }
