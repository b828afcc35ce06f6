// Package latetest is what tests of lagging watches share: a client that a test answers itself, answers that fail now and then, and a cache that says how far it
// has come. What is true, what is late and what must never happen is each controller's own.
package latetest
