package source

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reason says, in one word for programs, why a source cannot be used. It becomes the reason of the Application's SourceReady condition.
type Reason string

// The reasons of an Error.
const (
	// InvalidSource: the URL, the ref or the path in the Application cannot mean anything.
	InvalidSource Reason = "InvalidSource"
	// InvalidCredentials: the Secret lacks a key or holds one that does not parse.
	InvalidCredentials Reason = "InvalidCredentials"
	// Unreachable: the repository's host did not answer, or not as a Git server.
	Unreachable Reason = "RepositoryUnreachable"
	// ProxyRefused: the proxy does not connect to the repository's host.
	ProxyRefused Reason = "ProxyRefused"
	// RateLimited: the host wants fewer requests.
	RateLimited Reason = "RateLimited"
	// Unauthorized: the host answered and refused the credentials, or does not show the repository without any.
	Unauthorized Reason = "AuthenticationFailed"
	// NotFound: the host answered that there is no such repository.
	NotFound Reason = "RepositoryNotFound"
	// Empty: the repository has no commit.
	Empty Reason = "RepositoryEmpty"
	// RefNotFound: the repository lacks the branch, tag or commit.
	RefNotFound Reason = "RefNotFound"
	// PathNotFound: the commit lacks the folder.
	PathNotFound Reason = "PathNotFound"
	// Unverified: the commit or tag is not signed as the Application wants it.
	Unverified Reason = "SignatureRefused"
	// InvalidManifest: a file of the commit cannot be used.
	InvalidManifest Reason = "InvalidManifest"
	// StoreFailed: the local store cannot be written, for example because the disk is full.
	StoreFailed Reason = "StoreFailed"
)

// Error is a source that cannot be used; its text says what was found and what to do about it.
type Error struct {
	Reason  Reason
	Message string
	// Err is the cause, where another library had one.
	Err error
	// RetryAfter is how long the host wants to be left alone; zero when it did not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

func failf(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

func wrapf(r Reason, err error, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...), Err: err}
}

// ReasonOf returns the reason of err, or Unreachable for an error of another kind: it came from a transport.
func ReasonOf(err error) Reason {
	var e *Error
	var p ParseErrors
	switch {
	case errors.As(err, &p):
		return InvalidManifest
	case errors.As(err, &e):
		return e.Reason
	}
	return Unreachable
}

// RetryAfter is how long the host wants to be left alone; zero when it did not say.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// ParseError is a place in a file that stops a commit.
type ParseError struct {
	File string
	// Line and Column count from 1; zero when the whole file is meant.
	Line, Column int
	Message      string
}

func (e *ParseError) Error() string {
	switch {
	case e.Line == 0:
		return e.File + ": " + e.Message
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// ParseErrors are all the places found in one commit, one a line, in the order of the files.
type ParseErrors []*ParseError

// shownErrors bounds a message: a wrong generator breaks every file in the same way, and a status is no place for a thousand lines.
const shownErrors = 20

func (e ParseErrors) Error() string {
	var b strings.Builder
	for i, p := range e {
		if i == shownErrors {
			fmt.Fprintf(&b, "\nand %d more", len(e)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
	}
	return b.String()
}
