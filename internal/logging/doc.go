// Package logging sets up log/slog as the one logger of a process and sends what klog and logr are given through it.
//
// In: a level and a writer. Out: structured lines on that writer. It never opens files and never rotates. News says which failures of what is tried again and again are worth a line.
package logging
