package lifecycle

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestVolumeMountsAreReportedAsTheyAre(t *testing.T) {
	for _, tt := range []struct {
		mount     string
		supported bool
		image     string
		before    string
		want      string
		err       string
	}{
		{mount: `{name: v, mountPath: /v}`, want: `{"name":"v","mountPath":"/v"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true}`, supported: true, want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Disabled"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled}`, supported: true, want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Enabled"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled}`, err: "cannot mount so",
			want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Disabled"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: IfPossible}`, supported: true, want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Enabled"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: IfPossible}`, want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Disabled"}`},
		{mount: `{name: v, mountPath: /v, recursiveReadOnly: IfPossible}`, supported: true, err: "readOnly: true", want: `{"name":"v","mountPath":"/v"}`},
		{mount: `{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled, mountPropagation: HostToContainer}`, supported: true, err: "without propagation",
			want: `{"name":"v","mountPath":"/v","readOnly":true,"recursiveReadOnly":"Disabled"}`},
		{mount: `{name: v, mountPath: /v}`, image: "r/x@sha256:1", want: `{"name":"v","mountPath":"/v","volumeStatus":{"image":{"imageRef":"r/x@sha256:1"}}}`},
		{mount: `{name: v, mountPath: /v}`, before: `{name: v, mountPath: /v, volumeStatus: {image: {imageRef: kept}}}`, want: `{"name":"v","mountPath":"/v","volumeStatus":{"image":{"imageRef":"kept"}}}`},
	} {
		c := &v1.Container{VolumeMounts: make([]v1.VolumeMount, 1)}
		if err := yaml.UnmarshalStrict([]byte(tt.mount), &c.VolumeMounts[0]); err != nil {
			t.Fatal(err)
		}
		before := &v1.ContainerStatus{VolumeMounts: make([]v1.VolumeMountStatus, 1)}
		if err := yaml.UnmarshalStrict([]byte(tt.before), &before.VolumeMounts[0]); err != nil {
			t.Fatal(err)
		}
		p := plan{Input: Input{RecursiveReadOnly: tt.supported, ImageVolumes: map[string]string{"v": tt.image}}}
		got, err := json.Marshal(p.volumeMounts(c, before)[0])
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tt.want {
			t.Errorf("%s (supported: %v)\n got %s\nwant %s", tt.mount, tt.supported, got, tt.want)
		}
		if _, err := RecursiveReadOnly(&c.VolumeMounts[0], tt.supported); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s (supported: %v): the error is %v, want %q", tt.mount, tt.supported, err, tt.err)
		}
	}
}
