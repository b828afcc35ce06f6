package logging

// News is about one thing that is tried until it succeeds. In an hour without the API that is hundreds of times, and only what has not been told is worth a line.
type News struct {
	failure string // the last outcome; empty for success
}

// New takes an outcome, and says whether it is a failure other than the one before it was.
func (n *News) New(err error) bool {
	before := n.failure
	n.failure = ""
	if err != nil {
		n.failure = err.Error()
	}
	return err != nil && n.failure != before
}
