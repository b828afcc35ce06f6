package cli

import "io"

// Encode writes a value as JSON or YAML, for commands whose text is written elsewhere.
func Encode(w io.Writer, f Format, v any) error { return encode(w, f, v) }
