package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// lookup answers with what the Pod's resolver says about a name: ?host=NAME, ?srv=PORT.PROTOCOL.NAME or ?ptr=ADDRESS, with &tcp=1 by TCP only.
func lookup(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	resolver := &net.Resolver{PreferGo: true}
	if q.Get("tcp") != "" {
		resolver.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	var out []string
	var err error
	switch {
	case q.Get("host") != "":
		out, err = resolver.LookupHost(r.Context(), q.Get("host"))
	case q.Get("ptr") != "":
		out, err = resolver.LookupAddr(r.Context(), q.Get("ptr"))
	default:
		var list []*net.SRV
		port, rest, _ := strings.Cut(q.Get("srv"), ".")
		proto, name, _ := strings.Cut(rest, ".")
		_, list, err = resolver.LookupSRV(r.Context(), port, proto, name)
		for _, s := range list {
			out = append(out, fmt.Sprintf("%s:%d", s.Target, s.Port))
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	slices.Sort(out)
	fmt.Fprintln(w, strings.Join(out, " "))
}
