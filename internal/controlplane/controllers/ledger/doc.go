// Package ledger lets a controller read its own writes although its cache lags behind them.
//
// In: each create and delete that a controller is about to send, and how it ended. Out: what of that the cache does not show yet, so
// that the controller can count a Pod it has just created, and not count one it has just deleted. It never writes to the API server,
// and it may be lost: after a restart the caches are read anew and show everything.
//
// Why not counters with a time-out: a counter cannot say which object is missing, so one lost event blocks its owner for minutes. The
// ledger names each object, and a cache that has reached the write's resourceVersion settles it even if its event was never seen.
package ledger
