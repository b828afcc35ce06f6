package main

import "testing"

func TestAPodIsNamedWithItsNamespaceOrWithout(t *testing.T) {
	for _, c := range []struct{ namespace, arg, wantNamespace, wantName string }{
		{"", "web", "default", "web"},
		{"shop", "web", "shop", "web"},
		{"", "shop/web", "shop", "web"},
		{"", "pod/web", "default", "web"},
		{"other", "pod/shop/web", "shop", "web"},
	} {
		if ns, name := podName(c.namespace, c.arg); ns != c.wantNamespace || name != c.wantName {
			t.Errorf("%q with -n %q is %s/%s, want %s/%s", c.arg, c.namespace, ns, name, c.wantNamespace, c.wantName)
		}
	}
}
