package dra

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	healthapi "k8s.io/kubelet/pkg/apis/dra-health/v1"
)

func TestALongMessageOfADriverIsCutBetweenCharacters(t *testing.T) {
	for shift := range 3 {
		said := strings.Repeat("x", shift) + strings.Repeat("熱", 1000) // of three bytes each
		got := readHealth(&healthapi.DeviceHealth{Message: said}, time.Now()).message
		if !utf8.ValidString(got) || len(got) > v1.ResourceHealthMessageMaxLength || len(got) < v1.ResourceHealthMessageMaxLength-3 || !strings.HasSuffix(got, "熱...") {
			t.Errorf("after %d bytes: %d bytes, valid: %t, the end %q", shift, len(got), utf8.ValidString(got), got[len(got)-9:])
		}
	}
}
