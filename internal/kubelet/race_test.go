//go:build race

package kubelet_test

func init() { buildFlags = []string{"-race"} }
