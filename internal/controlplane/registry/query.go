package registry

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addQueryConversions teaches the scheme to read the options of the connecting subresources (log, exec, attach, portforward) from a query string.
func addQueryConversions(s *runtime.Scheme) error {
	for _, options := range []any{
		(*corev1.PodLogOptions)(nil), (*corev1.PodExecOptions)(nil), (*corev1.PodAttachOptions)(nil),
		(*corev1.PodPortForwardOptions)(nil), (*corev1.PodProxyOptions)(nil), (*corev1.ServiceProxyOptions)(nil), (*corev1.NodeProxyOptions)(nil),
	} {
		if err := s.AddConversionFunc((*url.Values)(nil), options, func(in, out any, _ conversion.Scope) error {
			return decodeQuery(*in.(*url.Values), out)
		}); err != nil {
			return err
		}
	}
	return nil
}

// decodeQuery sets the fields of the struct that out points at from the query parameters named by their JSON tags. Unknown parameters are ignored.
func decodeQuery(q url.Values, out any) error {
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		values, ok := q[name]
		if name == "" || !ok || len(values) == 0 {
			continue
		}
		if err := setField(v.Field(i), values); err != nil {
			return fmt.Errorf("query parameter %s: %w", name, err)
		}
	}
	return nil
}

func setField(f reflect.Value, values []string) error {
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		return setField(f.Elem(), values)
	}
	if t, ok := f.Addr().Interface().(*metav1.Time); ok {
		parsed, err := time.Parse(time.RFC3339, values[0])
		if err != nil {
			return fmt.Errorf("must be a time as in 2006-01-02T15:04:05Z, got %q", values[0])
		}
		t.Time = parsed
		return nil
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(values[0])
	case reflect.Bool:
		// An empty value is how a bare "?follow" arrives, and means true.
		b, err := strconv.ParseBool(values[0])
		if err != nil && values[0] != "" {
			return fmt.Errorf("must be true or false, got %q", values[0])
		}
		f.SetBool(b || values[0] == "")
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, f.Type().Bits())
		if err != nil {
			return fmt.Errorf("must be a whole number, got %q", values[0])
		}
		f.SetInt(n)
	case reflect.Slice:
		out := reflect.MakeSlice(f.Type(), len(values), len(values))
		for i, s := range values {
			if err := setField(out.Index(i), []string{s}); err != nil {
				return err
			}
		}
		f.Set(out)
	default:
		return fmt.Errorf("cannot be given as a query parameter")
	}
	return nil
}
