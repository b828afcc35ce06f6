package image

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Error is a failure to make an image present; Reason is the waiting reason to report.
type Error struct {
	Reason string // ErrImagePull, ErrImageNeverPull, InvalidImageName, RegistryUnavailable
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// pullError says what went wrong with a pull and what to do about it.
func pullError(ref, store string, err error) error {
	text := err.Error()
	remedy := ""
	switch {
	case errors.Is(err, unix.ENOSPC) || strings.Contains(text, "no space left on device"):
		return &Error{Reason: "ErrImagePull", Err: fmt.Errorf(
			"pulling image %q: the disk that holds the image store %s is full (no space left on device); remove unused images or enlarge the disk, the pull is retried", ref, store)}
	case errdefs.IsNotFound(err) || strings.Contains(text, "not found"):
		remedy = "; check the name and the tag"
	case strings.Contains(text, "401") || strings.Contains(text, "403") || strings.Contains(text, "authorization failed") || strings.Contains(text, "insufficient_scope"):
		remedy = "; check that the image exists and that imagePullSecrets name a Secret with access to " + Domain(ref)
	case strings.Contains(text, "no such host") || strings.Contains(text, "connection refused") || strings.Contains(text, "i/o timeout"):
		remedy = "; check that this node can reach the registry " + Domain(ref)
	}
	return &Error{Reason: "ErrImagePull", Err: fmt.Errorf("pulling image %q: %w%s", ref, err, remedy)}
}
