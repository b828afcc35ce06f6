package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// cors tells a browser what pages of elsewhere may do, and answers its question before a request. It says whether it has answered.
func (x *exchange) cors(c *routes.CORS) bool {
	origin := x.r.Header.Get("Origin")
	allowed := origin != "" && allows(c.Origins, origin)
	h := x.w.Header()
	if allowed {
		// Whoever allows everybody allows nobody's cookies: browsers say so too.
		if slices.Contains(c.Origins, "*") {
			h.Set("Access-Control-Allow-Origin", "*")
		} else {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Add("Vary", "Origin")
			if c.Credentials {
				h.Set("Access-Control-Allow-Credentials", "true")
			}
		}
		if c.Expose != "" {
			h.Set("Access-Control-Expose-Headers", c.Expose)
		}
	}
	if x.r.Method != http.MethodOptions || origin == "" || x.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if allowed {
		h.Set("Access-Control-Allow-Methods", c.Methods)
		h.Set("Access-Control-Allow-Headers", c.Headers)
		h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
	}
	x.begin(http.StatusNoContent)
	return true
}

// allows says whether an origin is one of a list, in which "https://*.example.org" stands for all names below.
func allows(list []string, origin string) bool {
	for _, o := range list {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
		before, after, ok := strings.Cut(o, "*")
		if ok && len(origin) > len(o)-1 && strings.HasPrefix(strings.ToLower(origin), strings.ToLower(before)) &&
			strings.HasSuffix(strings.ToLower(origin), strings.ToLower(after)) && !strings.ContainsAny(origin[len(before):len(origin)-len(after)], "/:@") {
			return true
		}
	}
	return false
}
