// Package reload follows a configuration file while the process runs.
//
// In: a file's path, what was read of it at the start, and a function that takes its new content. Out: calls of that function whenever the content has
// changed. A content that the function refuses is reported once and tried again later; what was in force stays in force.
//
// It never reads anything into the content, and never ends the process because of it.
package reload
